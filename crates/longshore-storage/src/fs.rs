//! The real file system behind [`Directory`](crate::Directory) and [`File`](crate::File).

mod directory;
mod file;
mod lock;

pub use self::directory::FsDirectory;
