//! The real etcd, in a process that ends with the test. `.ci/etcd` fetches it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub(crate) struct Etcd {
    child: Child,
    /// Host and port.
    pub(crate) address: String,
    _data: TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One member, in plaintext; or with the files of a CA, `server`'s certificate, and clients that it must know.
pub(crate) fn start(certificates: Option<&Path>) -> Etcd {
    let binary = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/etcd/etcd");
    assert!(binary.exists(), "{} is missing: run .ci/etcd", binary.display());
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary);
    let url = if certificates.is_some() { "https://127.0.0.1:0" } else { "http://127.0.0.1:0" };
    command.arg("--data-dir").arg(data.path().join("data"));
    command.args(["--listen-client-urls", url, "--advertise-client-urls", url]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:0", "--logger", "zap", "--log-outputs", "stdout"]);
    if let Some(dir) = certificates {
        command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(dir.join("ca.pem"));
        command.arg("--cert-file").arg(dir.join("server.pem")).arg("--key-file").arg(dir.join("server.key"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // From here on it is ended with the test, however that ends.
    let mut etcd = Etcd { child: command.spawn().unwrap(), address: String::new(), _data: data };
    let mut lines = BufReader::new(etcd.child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let says = lines.find(|line| line.contains("serving client traffic")).expect("it ends before it serves");
    let (_, address) = says.split_once(r#""address":""#).expect("the line names where");
    etcd.address = address.split('"').next().unwrap().to_owned();
    // Reads on, so that it never waits for a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    etcd
}
