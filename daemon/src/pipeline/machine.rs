//! The machine type that a library was built for. The loader treats a library of another type as if there were no file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

/// A machine type, as the header of an ELF file states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// 1: 32 bits, 2: 64.
    class: u8,
    /// 1: little endian, 2: big.
    order: u8,
    number: u16,
}

impl Machine {
    /// Bytes of the header that contain the machine type.
    pub const HEAD: usize = 20;

    /// `None` if these are not the first bytes of an ELF file.
    pub fn of(head: &[u8]) -> Option<Machine> {
        let head = head.first_chunk::<{ Self::HEAD }>()?;
        let (class, order, number) = (head[4], head[5], [head[18], head[19]]);
        let number = if order == 2 { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) };
        head.starts_with(b"\x7fELF").then_some(Machine { class, order, number })
    }

    /// The machine type of this program.
    ///
    /// # Errors
    /// When the program's file cannot be read.
    pub fn own() -> io::Result<Machine> {
        let mut head = [0; Self::HEAD];
        File::open("/proc/self/exe")?.read_exact(&mut head)?;
        Machine::of(&head).ok_or_else(|| io::Error::other("/proc/self/exe is not what Linux runs"))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            3 => formatter.write_str("x86")?,
            8 => formatter.write_str("mips")?,
            21 => formatter.write_str("powerpc")?,
            22 => formatter.write_str("s390")?,
            40 => formatter.write_str("arm")?,
            62 => formatter.write_str("x86_64")?,
            183 => formatter.write_str("aarch64")?,
            243 => formatter.write_str("riscv")?,
            258 => formatter.write_str("loongarch")?,
            number => write!(formatter, "machine {number} of ELF")?,
        }
        write!(formatter, " of {} bits", if self.class == 1 { 32 } else { 64 })?;
        if self.order == 2 { formatter.write_str(", big endian") } else { Ok(()) }
    }
}
