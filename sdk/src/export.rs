//! From the trait to the C symbol; what [`export!`](crate::export!) expands to.
//!
//! No panic passes the wall: a plugin that panics is taken out of its slot and never called again.
#![allow(unsafe_code, reason = "implements the C functions of hark_plugin.h")]

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Once;

use crate::event::{Event, Kind};
use crate::{Error, Host, Level, Plugin, abi};

/// Exports a [`Plugin`](crate::Plugin) as the symbol `hark_plugin`. Once in a crate, which is a `cdylib`.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(panic = "abort")]
        compile_error!(
            "a Hark plugin needs panic = \"unwind\": under \"abort\" one panic takes the whole process"
        );

        /// What the daemon looks for in this library.
        #[allow(unsafe_code, non_upper_case_globals, reason = "the name is the contract's")]
        #[unsafe(no_mangle)]
        pub static hark_plugin: $crate::abi::Plugin =
            $crate::export::table::<$plugin>(concat!(env!("CARGO_PKG_VERSION"), "\0"));
    };
}

/// The table of a plugin's functions. `version` ends with NUL.
pub const fn table<P: Plugin>(version: &'static str) -> abi::Plugin {
    assert!(
        CStr::from_bytes_with_nul(version.as_bytes()).is_ok(),
        "a version is text and one NUL at its end"
    );
    abi::Plugin {
        magic: abi::MAGIC,
        size: size_of::<abi::Plugin>() as u32,
        major: abi::MAJOR,
        minor: abi::MINOR,
        wants: P::WANTS.bits(),
        flags: if P::TRANSFORM { abi::TRANSFORM } else { 0 },
        version: version.as_ptr().cast(),
        create: Some(create::<P>),
        on_event: Some(on_event::<P>),
        destroy: Some(destroy::<P>),
    }
}

/// Empty once the plugin has panicked.
struct Slot<P>(Option<P>);

unsafe extern "C" fn create<P: Plugin>(
    host: *const abi::Host,
    config: *const c_char,
    length: usize,
) -> *mut c_void {
    remember_where_panics_happen();
    // SAFETY: the header promises a host that is valid during this call, on this thread.
    let host = unsafe { Host::from_raw(host) };
    // SAFETY: the header promises pointer and length, borrowed for the call.
    let config = unsafe { abi::borrow(config, length) };
    let made = catch_unwind(|| P::create(std::str::from_utf8(config)?));
    match made {
        Ok(Ok(plugin)) => Box::into_raw(Box::new(Slot(Some(plugin)))).cast(),
        Ok(Err(error)) => {
            host.log(Level::Error, &error.to_string());
            ptr::null_mut()
        }
        Err(payload) => {
            tell(&host, "create", payload);
            ptr::null_mut()
        }
    }
}

unsafe extern "C" fn on_event<P: Plugin>(
    this: *mut c_void,
    host: *const abi::Host,
    kind: *const c_char,
    kind_length: usize,
    body: *const c_char,
    body_length: usize,
) -> i32 {
    // SAFETY: the header promises a host that is valid during this call, on this thread.
    let host = unsafe { Host::from_raw(host) };
    // SAFETY: `this` is what `create` returned, not destroyed yet, and calls never overlap: the host promises all three.
    let slot = unsafe { &mut *this.cast::<Slot<P>>() };
    // SAFETY: the header promises pointer and length, borrowed for the call.
    let (kind, body) = unsafe { (abi::borrow(kind, kind_length), abi::borrow(body, body_length)) };
    let Some(mut plugin) = slot.0.take() else {
        host.log(Level::Error, "called again after a panic");
        return abi::FAILED;
    };
    let called = catch_unwind(AssertUnwindSafe(|| {
        // A later daemon has kinds that this version does not know; a plugin passes over them.
        let Ok(kind) = std::str::from_utf8(kind)?.parse::<Kind>() else { return Ok(()) };
        plugin.on_event(&Event::parse(&kind, body)?, &host)
    }));
    let result: Result<(), Error> = match called {
        Ok(result) => {
            slot.0 = Some(plugin);
            result
        }
        Err(payload) => {
            tell(&host, "on_event", payload);
            // Dropping a half-changed plugin may panic again, inside no guard; its process ends soon.
            std::mem::forget(plugin);
            return abi::FAILED;
        }
    };
    match result {
        Ok(()) => abi::OK,
        Err(error) => {
            host.log(Level::Error, &error.to_string());
            if error.is_fatal() { abi::FAILED } else { abi::ERROR }
        }
    }
}

unsafe extern "C" fn destroy<P: Plugin>(this: *mut c_void, host: *const abi::Host) {
    // SAFETY: the header promises a host that is valid during this call, on this thread.
    let host = unsafe { Host::from_raw(host) };
    // SAFETY: `this` came from Box::into_raw in `create`, and destroy is the last call.
    let slot = unsafe { Box::from_raw(this.cast::<Slot<P>>()) };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(slot))) {
        tell(&host, "destroy", payload);
    }
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The payload that `catch_unwind` returns has the words, only a hook hears the place.
fn remember_where_panics_happen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string);
            // A panic while the thread's locals are torn down has no place to be kept; it is told without one.
            let _ = LAST_PANIC.try_with(|last| *last.borrow_mut() = place);
            previous(panic);
        }));
    });
}

/// The place goes to the log, the words only at trace: a panic of `str` slicing quotes the text that it was about.
fn tell(host: &Host, function: &str, payload: Box<dyn Any + Send>) {
    let words = payload
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a payload that is no text".to_owned());
    let place =
        LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or_else(|| "an unknown place".to_owned());
    host.log(Level::Trace, &format!("panic in {function}: {words}"));
    host.log(Level::Error, &format!("panicked in {function} at {place}; the words are in the log at trace"));
    // Its destructor is the plugin's code too, and may panic.
    std::mem::forget(payload);
}
