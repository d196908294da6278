//! The raw limit of a commit that is durable at other places, too: `pwrite` and `fdatasync` here, one TCP round trip on
//! loopback to each of the others at once, and `pwrite` and `fdatasync` there. No longshore crate is used here. Files are
//! prepared as in `raw_sync.rs`, connections send at once (`TCP_NODELAY`), and every end has a thread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

type Prepare = fn(&Path, u64) -> io::Result<File>;

/// Writes `rounds` groups of `group` bytes, each to this place and `others` more: the time of every round.
pub(crate) fn commit(
    dir: &Path,
    prepared: Prepare,
    others: usize,
    group: usize,
    rounds: usize,
) -> io::Result<Vec<Duration>> {
    let mut peers = Vec::new();
    let size = (group * rounds) as u64;
    for other in 0..others {
        let (listener, file) = (TcpListener::bind("127.0.0.1:0")?, prepared(&dir.join(format!("raw.{other}")), size)?);
        let address = listener.local_addr()?;
        let serving = std::thread::spawn(move || serve(&listener, &file, group));
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        peers.push((stream, serving));
    }
    let (file, bytes) = (prepared(&dir.join("raw"), size)?, vec![7; group]);
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let begin = Instant::now();
        file.write_all_at(&bytes, (round * group) as u64)?;
        file.sync_data()?;
        peers.iter_mut().try_for_each(|(stream, _)| stream.write_all(&bytes))?;
        peers.iter_mut().try_for_each(|(stream, _)| stream.read_exact(&mut [0]))?;
        times.push(begin.elapsed());
    }
    for (stream, serving) in peers {
        drop(stream);
        serving.join().expect("it does not panic")?;
    }
    Ok(times)
}

/// Stores groups and answers each with a byte, until there are no more.
fn serve(listener: &TcpListener, file: &File, group: usize) -> io::Result<()> {
    let (mut stream, mut bytes, mut at) = (listener.accept()?.0, vec![0; group], 0);
    stream.set_nodelay(true)?;
    while stream.read_exact(&mut bytes).is_ok() {
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        at += group as u64;
        stream.write_all(&[1])?;
    }
    Ok(())
}
