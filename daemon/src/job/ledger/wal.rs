//! Checks the ledger's log (`ledger.sqlite3-wal`) before SQLite reads it.
//!
//! SQLite treats the first frame with a wrong checksum as the log's end. After a power cut that is right: such a frame belongs to a commit
//! that no caller was told of. After damage it is wrong: SQLite would drop every later commit without a report. The two cases differ in
//! what follows: a commit is on the disk before the next one begins, so behind a torn commit there is no other commit.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;

/// What is wrong with the log of this ledger, if anything.
///
/// # Errors
/// When the log is there and cannot be read.
pub(super) fn finding(ledger: &Path) -> io::Result<Option<String>> {
    let mut name = ledger.as_os_str().to_owned();
    name.push("-wal");
    let log = match File::open(name) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // The head is on the disk before the first frame is written: alone it may be torn, with frames it may not.
    if log.metadata()?.len() <= HEAD as u64 {
        return Ok(None);
    }
    let mut log = BufReader::new(log);
    let mut head = [0; HEAD];
    log.read_exact(&mut head)?;
    let Some(mut sum) = Sum::of_head(&head) else {
        return Ok(Some("the head of its log, ledger.sqlite3-wal, is not one".into()));
    };
    let (page_size, salts) = (word(&head, 8) as usize, &head[16..24]);
    let mut frame = vec![0; FRAME_HEAD + page_size];
    let mut adds_up = true;
    let mut number = 0_u64;
    let mut torn_at = 0;
    let mut commits_behind = 0;
    while is_read(&mut log, &mut frame)? {
        number += 1;
        // From an earlier use of the same file: folded into the ledger already, and perhaps half overwritten.
        let is_of_this_round = frame[8..16] == *salts;
        if adds_up {
            sum.add(&frame[..8]);
            sum.add(&frame[FRAME_HEAD..]);
            adds_up = is_of_this_round && sum.is(&frame[16..24]);
            torn_at = number;
        } else if is_of_this_round && word(&frame, 4) != 0 {
            commits_behind += 1;
        }
    }
    Ok((commits_behind > 1).then(|| {
        format!("frame {torn_at} of its log, ledger.sqlite3-wal, does not add up, and commits follow it")
    }))
}

/// Fills the buffer; false at the end of the file, however much of a frame is left there.
fn is_read(log: &mut impl Read, frame: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(frame) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The running sum of SQLite's file format (section 4.2 of its description).
struct Sum {
    words: (u32, u32),
    is_big_endian: bool,
}

impl Sum {
    /// After the head, if the head is one.
    fn of_head(head: &[u8; HEAD]) -> Option<Sum> {
        let is_big_endian = match word(head, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return None,
        };
        let page_size = word(head, 8);
        let mut sum = Sum { words: (0, 0), is_big_endian };
        sum.add(&head[..24]);
        let is_whole =
            sum.is(&head[24..]) && page_size.is_power_of_two() && (512..=65_536).contains(&page_size);
        is_whole.then_some(sum)
    }

    fn add(&mut self, bytes: &[u8]) {
        let (mut one, mut two) = self.words;
        for pair in bytes.chunks_exact(8) {
            let words = (word(pair, 0), word(pair, 4));
            let (first, second) = match self.is_big_endian {
                true => words,
                false => (words.0.swap_bytes(), words.1.swap_bytes()),
            };
            one = one.wrapping_add(first).wrapping_add(two);
            two = two.wrapping_add(second).wrapping_add(one);
        }
        self.words = (one, two);
    }

    fn is(&self, told: &[u8]) -> bool {
        self.words == (word(told, 0), word(told, 4))
    }
}
