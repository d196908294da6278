//! Who is connected, what they may do, and the end of those who no longer may.
//!
//! Certificates and grants change while an agent runs. New connections and calls see the new ones; for
//! those that are open, [`Access::enforce`] asks again whether each certificate would still be accepted
//! and each stream's role is still granted, and ends what is not. Everything else stays.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use longshore_format::ErrorKind;
use longshore_protocol::Name;
use rustls_pki_types::CertificateDer;

use crate::{
    Caller, Error, Result,
    grants::{Grants, Role},
    leash::Leash,
    lock,
    tls::{ServerTls, claims},
    watched::Watched,
};

/// Who may do what on an agent. Clones share it.
#[derive(Clone)]
pub struct Access(Arc<Shared>);

struct Shared {
    /// `None` in plaintext.
    secure: Option<Secure>,
    live: Mutex<Live>,
}

struct Secure {
    tls: ServerTls,
    grants: Watched<Grants>,
    /// The days left that were last warned of.
    warned: AtomicI64,
}

/// From how many days before its end on a certificate is warned of.
const WARN_DAYS: i64 = 14;

/// What is open now.
#[derive(Default)]
struct Live {
    next: u64,
    peers: HashMap<u64, Arc<Peer>>,
    streams: HashMap<u64, LiveStream>,
}

struct LiveStream {
    caller: Name,
    address: SocketAddr,
    connection: u64,
    roles: &'static [Role],
    log: Name,
    leash: Arc<Leash>,
}

/// One connection's other end.
#[derive(Debug)]
pub(crate) struct Peer {
    connection: u64,
    /// `None` in plaintext, where each call says it.
    pub(crate) identity: Option<Name>,
    pub(crate) address: SocketAddr,
    chain: Vec<CertificateDer<'static>>,
    /// The set of certificates that last accepted the chain, and until when it holds by itself.
    accepted: Mutex<Accepted>,
    pub(crate) leash: Leash,
}

#[derive(Debug, Clone, Copy)]
struct Accepted {
    by: u64,
    until: SystemTime,
}

impl Peer {
    /// Whether the certificate would still be accepted by the set of files `generation`. Only asks `verify` again when
    /// something has changed, and holds no lock meanwhile: it goes through bytes that the peer chose.
    fn still_trusted(
        &self,
        generation: u64,
        verify: impl FnOnce(&[CertificateDer<'static>]) -> Result<(), rustls::Error>,
    ) -> Result<(), rustls::Error> {
        let Accepted { by, until } = *self.accepted();
        if by != generation || until <= SystemTime::now() {
            verify(&self.chain)?;
            self.accepted().by = generation;
        }
        Ok(())
    }

    fn accepted(&self) -> MutexGuard<'_, Accepted> {
        lock(&self.accepted)
    }
}

impl Access {
    /// Mutual TLS, with the grants in a file that is watched from here on.
    pub fn mutual_tls(tls: ServerTls, grants_file: impl Into<PathBuf>) -> Result<Access> {
        let file = grants_file.into();
        let grants = Watched::open(vec![file.clone()], move || Grants::load(&file))?;
        let warned = AtomicI64::new(i64::MAX);
        Ok(Access::new(Some(Secure { tls, grants, warned })))
    }

    /// No TLS and no grants: whoever reaches the port may do everything. A server refuses to listen with
    /// it on anything but loopback.
    pub fn plaintext_on_loopback() -> Access {
        Access::new(None)
    }

    fn new(secure: Option<Secure>) -> Access {
        Access(Arc::new(Shared { secure, live: Mutex::default() }))
    }

    /// Reads certificates and grants again now, as SIGHUP asks for, and ends what is no longer allowed.
    ///
    /// Each is taken if it is usable; of those that are not the old one stays, and the error says so.
    pub fn reload(&self) -> Result<()> {
        let Some(secure) = &self.0.secure else {
            return Ok(());
        };
        let (tls, grants) = (secure.tls.reload(), secure.grants.reload());
        self.enforce();
        tls.and(grants)
    }

    /// The same, of files that have changed only. What is unusable is reported once.
    pub(crate) fn poll(&self) {
        if let Some(secure) = &self.0.secure {
            match secure.tls.reload_if_changed() {
                Ok(true) => tracing::info!("new certificates are in use"),
                Ok(false) => {}
                Err(error) => tracing::error!("keeping the certificates in use: {error}"),
            }
            match secure.grants.reload_if_changed() {
                Ok(true) => tracing::info!("new grants are in force"),
                Ok(false) => {}
                Err(error) => tracing::error!("keeping the grants in force: {error}"),
            }
            secure.warn_ahead();
        }
        self.enforce();
    }

    /// Whole days until this node's certificate expires, negative when it has; `None` in plaintext.
    pub fn certificate_days_left(&self) -> Option<i64> {
        self.0.secure.as_ref().map(|secure| secure.tls.certificate_days_left())
    }

    /// The grants in force; `None` in plaintext.
    pub fn grants(&self) -> Option<Arc<Grants>> {
        self.0.secure.as_ref().map(|secure| secure.grants.current())
    }

    /// The certificates, unless this is plaintext.
    pub(crate) fn tls(&self) -> Option<&ServerTls> {
        self.0.secure.as_ref().map(|secure| &secure.tls)
    }

    /// Lets a connection in, unless its identity has `limit` of them already.
    pub(crate) fn admit(
        &self,
        identity: Option<Name>,
        address: SocketAddr,
        chain: Vec<CertificateDer<'static>>,
        limit: usize,
    ) -> Result<(Arc<Peer>, Registration)> {
        // Not accepted by any set that is known here: the handshake may have gone by an older one.
        let until = chain.first().and_then(claims).map_or(SystemTime::UNIX_EPOCH, |claims| claims.not_after);
        let accepted = Mutex::new(Accepted { by: 0, until });
        let mut live = self.live();
        let same = live.peers.values().filter(|peer| peer.identity.is_some() && peer.identity == identity).count();
        if same >= limit {
            let message = "this identity has too many connections";
            return Err(Error::new(ErrorKind::Full, message, "close some of them").fact("limit", limit));
        }
        let connection = live.ticket();
        let peer = Arc::new(Peer { connection, identity, address, chain, accepted, leash: Leash::default() });
        live.peers.insert(connection, Arc::clone(&peer));
        Ok((peer, Registration { access: self.clone(), ticket: connection }))
    }

    /// Who calls, unless its connection is being ended. `claimed` counts in plaintext only.
    pub(crate) fn caller(&self, peer: &Peer, claimed: Option<&str>) -> Result<Caller> {
        if let Some(reason) = peer.leash.reason() {
            return Err(reason.clone());
        }
        let identity = match &peer.identity {
            Some(identity) => identity.clone(),
            None => Name::new(claimed.unwrap_or("anonymous")).map_err(Error::malformed)?,
        };
        let grants = self.0.secure.as_ref().map(|secure| secure.grants.current());
        Ok(Caller { identity, address: peer.address, grants })
    }

    /// Watches over a call that may last: when its caller has none of these roles any more, it ends.
    pub(crate) fn watch(
        &self,
        peer: &Peer,
        caller: &Caller,
        roles: &'static [Role],
        log: &Name,
    ) -> (Arc<Leash>, Registration) {
        let leash = Arc::new(Leash::default());
        let mut live = self.live();
        let ticket = live.ticket();
        let stream = LiveStream {
            caller: caller.identity.clone(),
            address: peer.address,
            connection: peer.connection,
            roles,
            log: log.clone(),
            leash: Arc::clone(&leash),
        };
        live.streams.insert(ticket, stream);
        drop(live);
        // What was lost between the check and here, nobody else would notice.
        let again = self.caller(peer, Some(caller.identity.as_str())).and_then(|caller| caller.require(roles, log));
        if let Err(reason) = again {
            leash.pull(reason);
        }
        (leash, Registration { access: self.clone(), ticket })
    }

    /// Ends every connection whose certificate would no longer be accepted, and every stream whose caller
    /// has lost its role.
    pub(crate) fn enforce(&self) {
        let Some(secure) = &self.0.secure else { return };
        let (current, grants) = (secure.tls.current(), secure.grants.current());
        let peers: Vec<_> = self.live().peers.values().cloned().collect();
        for peer in peers.iter().filter(|peer| peer.leash.reason().is_none()) {
            if let Err(error) = peer.still_trusted(current.generation, |chain| current.still_trusts(chain)) {
                let reason = no_longer_trusted(peer, &error);
                // The peer first: a stream that begins now sees it.
                peer.leash.pull(reason.clone());
                let streams = self.live().leashes_of(peer.connection);
                streams.iter().for_each(|leash| leash.pull(reason.clone()));
            }
        }
        let ungranted: Vec<_> = {
            let live = self.live();
            let open = live.streams.values().filter(|stream| stream.leash.reason().is_none());
            let lost = open.filter_map(|stream| Some((stream.lost(&grants)?, Arc::clone(&stream.leash))));
            lost.collect()
        };
        // Pulled outside the lock: it wakes tasks, and what they drop takes the lock.
        for (reason, leash) in ungranted {
            tracing::warn!(target: "longshore::audit", "ended a stream: {reason}");
            leash.pull(reason);
        }
    }

    /// Ends every stream: the agent stops.
    pub(crate) fn end_all(&self, reason: &Error) {
        let leashes: Vec<_> = self.live().streams.values().map(|stream| Arc::clone(&stream.leash)).collect();
        leashes.iter().for_each(|leash| leash.pull(reason.clone()));
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.0.live)
    }
}

impl LiveStream {
    /// Why the stream must end, if its caller has none of the roles any more.
    fn lost(&self, grants: &Arc<Grants>) -> Option<Error> {
        let (identity, grants) = (self.caller.clone(), Some(Arc::clone(grants)));
        let caller = Caller { identity, address: self.address, grants };
        caller.require(self.roles, &self.log).err()
    }
}

impl Secure {
    /// Says once a day that the certificate is about to expire (F-124).
    fn warn_ahead(&self) {
        let days = self.tls.certificate_days_left();
        if days < WARN_DAYS && self.warned.swap(days, Relaxed) != days {
            tracing::warn!("this node's certificate expires in {days} days; replace it, no restart is needed");
        }
    }
}

impl Live {
    fn ticket(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn leashes_of(&self, connection: u64) -> Vec<Arc<Leash>> {
        let of = self.streams.values().filter(|stream| stream.connection == connection);
        of.map(|stream| Arc::clone(&stream.leash)).collect()
    }
}

/// A place among what is open; given up when dropped.
pub(crate) struct Registration {
    access: Access,
    ticket: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut live = self.access.live();
        // Tickets are unique across both.
        let gone = (live.peers.remove(&self.ticket), live.streams.remove(&self.ticket));
        drop(live);
        drop(gone);
    }
}

fn no_longer_trusted(peer: &Peer, error: &rustls::Error) -> Error {
    let identity = peer.identity.as_ref().map_or("nobody", Name::as_str);
    tracing::warn!(target: "longshore::audit", identity, peer = %peer.address, "ended a connection: {error}");
    Error::new(
        ErrorKind::Denied,
        format!("the certificate of {identity} is no longer accepted: {error}"),
        "get a new certificate and connect again",
    )
    .fact("identity", identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lock_is_held_while_a_chain_is_verified() {
        let access = Access::plaintext_on_loopback();
        let (peer, _registration) = access.admit(None, ([127, 0, 0, 1], 1).into(), Vec::new(), 1).unwrap();
        let verified = peer.still_trusted(1, |_| {
            assert!(peer.accepted.try_lock().is_ok() && access.0.live.try_lock().is_ok());
            Ok(())
        });
        assert!(verified.is_ok());
        assert_eq!(peer.accepted().by, 1);
        let refusal = rustls::Error::NoCertificatesPresented;
        assert_eq!(peer.still_trusted(2, |_| Err(refusal.clone())), Err(refusal));
        assert_eq!(peer.accepted().by, 1);
    }
}
