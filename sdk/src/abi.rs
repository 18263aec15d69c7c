//! `include/hark_plugin.h` in Rust: the same names, the same layout (`tests/layout.rs` compares both with the same figures).
//!
//! The header, and only the header, documents what each function may do, when, and on which thread.
#![allow(unsafe_code, reason = "the interface between plugin and daemon: C pointers")]

use std::ffi::{c_char, c_void};

/// `HARK_MAGIC`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"HARK");
/// `HARK_MAJOR`: the daemon refuses any other major version.
pub const MAJOR: u32 = 1;
/// `HARK_MINOR`.
pub const MINOR: u32 = 1;

/// `HARK_OK`.
pub const OK: i32 = 0;
/// `HARK_ERROR`: this event failed.
pub const ERROR: i32 = 1;
/// `HARK_FAILED`: the instance failed; no more calls.
pub const FAILED: i32 = 2;

/// `HARK_TRANSFORM`, in [`Plugin::flags`].
pub const TRANSFORM: u32 = 1;

/// The name of the exported symbol, NUL-terminated for `dlsym`.
pub const SYMBOL: &[u8] = b"hark_plugin\0";

/// `struct hark_host`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "hark_plugin.h documents them")]
pub struct Host {
    pub size: u32,
    pub minor: u32,
    pub user: *mut c_void,
    pub emit: unsafe extern "C" fn(*mut c_void, *const c_char, usize, *const c_char, usize) -> i32,
    pub annotate: unsafe extern "C" fn(*mut c_void, *const c_char, usize, *const c_char, usize) -> i32,
    pub replace: unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> i32,
    pub log: unsafe extern "C" fn(*mut c_void, i32, *const c_char, usize),
    pub file: unsafe extern "C" fn(*mut c_void, *const c_char, usize, *const c_char, usize) -> i32,
}

/// `create` of `struct hark_plugin`.
pub type Create = unsafe extern "C" fn(*const Host, *const c_char, usize) -> *mut c_void;
/// `on_event` of `struct hark_plugin`.
pub type OnEvent =
    unsafe extern "C" fn(*mut c_void, *const Host, *const c_char, usize, *const c_char, usize) -> i32;
/// `destroy` of `struct hark_plugin`.
pub type Destroy = unsafe extern "C" fn(*mut c_void, *const Host);
/// `schema` of `struct hark_plugin`.
pub type Schema = unsafe extern "C" fn() -> *const c_char;

/// `struct hark_plugin`. The functions are optional here because a plugin in C may leave one null; the daemon refuses such a plugin.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "hark_plugin.h documents them")]
pub struct Plugin {
    pub magic: u32,
    pub size: u32,
    pub major: u32,
    pub minor: u32,
    pub wants: u32,
    pub flags: u32,
    pub version: *const c_char,
    pub create: Option<Create>,
    pub on_event: Option<OnEvent>,
    pub destroy: Option<Destroy>,
    pub schema: Option<Schema>,
}

/// Bytes of `struct hark_plugin` in version 1.0, the least that a plugin has.
pub const LEAST_SIZE: usize = std::mem::offset_of!(Plugin, schema);

// SAFETY: the struct is a constant. Its one pointer leads to text that lives as long as the library, and no code writes to either.
unsafe impl Sync for Plugin {}

/// Bytes that the other side lends for a call. A null pointer is an empty text, whatever the length is.
///
/// # Safety
/// `data` is null, or `length` bytes can be read there for as long as `'a`, and no code writes to them.
pub unsafe fn borrow<'a>(data: *const c_char, length: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: the caller guarantees this, as the header requires: pointer and length, borrowed for the call.
    unsafe { std::slice::from_raw_parts(data.cast(), length) }
}
