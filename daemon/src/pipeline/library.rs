//! Opens a plugin's library and calls it; runs inside the plugin's own process only.
//!
//! This module and `os` are the only places in the daemon with `unsafe`. `hark_plugin.h` is the plugin's contract. A plugin that breaks the
//! contract breaks only this process, and the daemon starts another.
#![allow(unsafe_code, reason = "dlopen, and calls through a C table")]

use std::error::Error;
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

use hark_sdk::abi;
use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use super::recorder::Recorder;

/// A library that declares itself a plugin for this daemon. It is never closed: unloading code with thread-locals is not sound.
#[derive(Debug)]
pub struct Library {
    table: abi::Plugin,
    create: abi::Create,
    on_event: abi::OnEvent,
    destroy: abi::Destroy,
}

/// The one instance of a plugin.
#[derive(Debug)]
pub struct Instance {
    library: Library,
    host: &'static abi::Host,
    this: NonNull<c_void>,
}

impl Library {
    /// Opens a verified library, which runs its constructors.
    ///
    /// # Errors
    /// A sentence that says why it cannot be used as a plugin, and what to do.
    pub fn open(bytes: &OwnedFd) -> Result<Library, String> {
        /// libloading lacks this flag. The handle is leaked anyway; the flag also keeps the loader from unloading the library.
        const RTLD_NODELETE: i32 = libc::RTLD_NODELETE;
        let path = format!("/proc/self/fd/{}", bytes.as_raw_fd());
        // SAFETY: constructors of the library run here. The operator vouches for their soundness by installing the library, and they can
        // break only this sandboxed process.
        let handle = unsafe { Handle::open(Some(&path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) };
        let handle: &'static Handle = Box::leak(Box::new(handle.map_err(|error| {
            let reason = reason(&error, &path);
            format!(
                "it cannot be opened: {reason}; `ldd -r` lists what it lacks: install that, or put it beside the library"
            )
        })?));
        let no_symbol = || "it exports no symbol \"hark_plugin\"; in Rust write hark_sdk::export!(…), in C define the constant of hark_plugin.h";
        // SAFETY: only the address is used; its content is checked below.
        let symbol = unsafe { handle.get::<*const u32>(abi::SYMBOL) }.map_err(|_| no_symbol())?;
        let address: *const u32 = symbol.as_raw_ptr().cast();
        if address.is_null() || !address.is_aligned() {
            return Err(no_symbol().to_owned());
        }
        // SAFETY: the symbol lies in a mapped, initialized section of a library that is never unloaded; only the magic is read until it has
        // been checked.
        let magic = unsafe { address.read() };
        if magic != abi::MAGIC {
            return Err(format!(
                "its symbol \"hark_plugin\" begins with {magic:#010x}, not with HARK_MAGIC ({:#010x}); is it a Hark plugin?",
                abi::MAGIC
            ));
        }
        // SAFETY: the magic vouches for the four 32-bit fields that no version changes.
        let [_, size, major, _minor] = unsafe { address.cast::<[u32; 4]>().read() };
        if major != abi::MAJOR {
            return Err(format!(
                "it was built for major version {major} of the plugin ABI, this daemon speaks {}; build it against this daemon's SDK",
                abi::MAJOR
            ));
        }
        let least = abi::LEAST_SIZE;
        if (size as usize) < least || !address.cast::<abi::Plugin>().is_aligned() {
            return Err(format!(
                "its hark_plugin says size {size}, less than the {least} bytes of version 1.0; set `size` to sizeof hark_plugin"
            ));
        }
        let mut table = MaybeUninit::<abi::Plugin>::zeroed();
        let known = size_of::<abi::Plugin>().min(size as usize);
        // SAFETY: magic, major and size vouch for this many bytes of a `struct hark_plugin`; fields that an older plugin lacks stay zero; its
        // functions are options and its other fields integers and pointers, so any bits are valid.
        let table = unsafe {
            table.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(address.cast(), known);
            table.assume_init()
        };
        let lacks = |name: &str| format!("its hark_plugin has no function `{name}`; all three are needed");
        Ok(Library {
            table,
            create: table.create.ok_or_else(|| lacks("create"))?,
            on_event: table.on_event.ok_or_else(|| lacks("on_event"))?,
            destroy: table.destroy.ok_or_else(|| lacks("destroy"))?,
        })
    }

    /// `HARK_WANTS_…`.
    pub fn wants(&self) -> u32 {
        self.table.wants
    }

    /// The JSON Schema of the plugin's config (a function of ABI version 1.1); `None` if the plugin has none.
    ///
    /// # Errors
    /// When the plugin has the function, and the function returns NULL.
    pub fn schema(&self) -> Result<Option<String>, String> {
        let Some(schema) = self.table.schema else { return Ok(None) };
        // SAFETY: a 1.1 plugin has this signature.
        let text = unsafe { schema() };
        if text.is_null() {
            return Err(
                "its function `schema` returns NULL; return the schema, or set the field to NULL".to_owned()
            );
        }
        // SAFETY: the header promises text that ends with NUL and lives as long as the library.
        Ok(Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()))
    }

    /// Whether it replaces text.
    pub fn is_transform(&self) -> bool {
        self.table.flags & abi::TRANSFORM != 0
    }

    /// The plugin's own version, empty if it has none; at most 64 characters.
    pub fn version(&self) -> String {
        if self.table.version.is_null() {
            return String::new();
        }
        // SAFETY: the header promises text that ends with NUL and lives as long as the library.
        let version = unsafe { CStr::from_ptr(self.table.version) };
        version.to_string_lossy().chars().take(64).collect()
    }

    /// Creates the instance; `None` when the plugin refuses (it logs the reason through `recorder`). The plugin calls the recorder from now
    /// on.
    pub fn create(self, config: &str, recorder: &'static Recorder) -> Option<Instance> {
        // Leaked, so that the pointer stays valid for a plugin that wrongly keeps it beyond a call.
        let host: &'static abi::Host = Box::leak(Box::new(host_for(recorder)));
        // SAFETY: host and config are valid for the call, and a 1.0 plugin has this signature.
        let this = unsafe { (self.create)(host, config.as_ptr().cast(), config.len()) };
        NonNull::new(this).map(|this| Instance { library: self, host, this })
    }
}

impl Instance {
    /// Calls the plugin with an event and returns its result.
    pub fn on_event(&mut self, kind: &str, body: &str) -> i32 {
        // SAFETY: `this` came from this library's create; `&mut self` keeps calls from overlapping; the texts live for the call.
        unsafe {
            (self.library.on_event)(
                self.this.as_ptr(),
                self.host,
                kind.as_ptr().cast(),
                kind.len(),
                body.as_ptr().cast(),
                body.len(),
            )
        }
    }

    /// The last call.
    pub fn destroy(self) {
        // SAFETY: `this` came from this library's create, and `self` is gone after this.
        unsafe { (self.library.destroy)(self.this.as_ptr(), self.host) }
    }
}

/// The loader's message without the `/proc` path that the library is opened by.
fn reason(error: &libloading::Error, path: &str) -> String {
    let message = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let message = message.strip_prefix(&format!("{path}: ")).unwrap_or(&message);
    message.replace(path, "it")
}

fn host_for(recorder: &'static Recorder) -> abi::Host {
    abi::Host {
        size: size_of::<abi::Host>() as u32,
        minor: abi::MINOR,
        user: std::ptr::from_ref(recorder).cast_mut().cast(),
        emit,
        annotate,
        replace,
        log,
        file,
    }
}

fn result(accepted: bool) -> i32 {
    if accepted { abi::OK } else { abi::ERROR }
}

unsafe extern "C" fn emit(
    user: *mut c_void,
    kind: *const c_char,
    kind_length: usize,
    json: *const c_char,
    json_length: usize,
) -> i32 {
    // SAFETY: `user` is the recorder of `host_for`, which is leaked; the plugin lends the texts for the call.
    let (recorder, kind, json) = unsafe {
        (&*user.cast::<Recorder>(), abi::borrow(kind, kind_length), abi::borrow(json, json_length))
    };
    result(recorder.emit(kind, json))
}

unsafe extern "C" fn annotate(
    user: *mut c_void,
    name: *const c_char,
    name_length: usize,
    json: *const c_char,
    json_length: usize,
) -> i32 {
    // SAFETY: `user` is the recorder of `host_for`, which is leaked; the plugin lends the texts for the call.
    let (recorder, name, json) = unsafe {
        (&*user.cast::<Recorder>(), abi::borrow(name, name_length), abi::borrow(json, json_length))
    };
    result(recorder.annotate(name, json))
}

unsafe extern "C" fn replace(user: *mut c_void, json: *const c_char, length: usize) -> i32 {
    // SAFETY: `user` is the recorder of `host_for`, which is leaked; the plugin lends the text for the call.
    let (recorder, json) = unsafe { (&*user.cast::<Recorder>(), abi::borrow(json, length)) };
    result(recorder.replace(json))
}

unsafe extern "C" fn file(
    user: *mut c_void,
    suffix: *const c_char,
    suffix_length: usize,
    bytes: *const c_char,
    length: usize,
) -> i32 {
    // SAFETY: `user` is the recorder of `host_for`, which is leaked; the plugin lends the texts for the call.
    let (recorder, suffix, bytes) = unsafe {
        (&*user.cast::<Recorder>(), abi::borrow(suffix, suffix_length), abi::borrow(bytes, length))
    };
    result(recorder.file(suffix, bytes))
}

unsafe extern "C" fn log(user: *mut c_void, level: i32, text: *const c_char, length: usize) {
    // SAFETY: `user` is the recorder of `host_for`, which is leaked; the plugin lends the text for the call.
    let (recorder, text) = unsafe { (&*user.cast::<Recorder>(), abi::borrow(text, length)) };
    recorder.log(level, text);
}
