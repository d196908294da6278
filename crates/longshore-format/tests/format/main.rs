//! The format, tested at its seams: bytes in, values out.

mod damage;
mod golden;
mod histories;
mod records;
mod resync;
mod segments;
mod support;
