//! Turns a [`Plugin`] into the C symbol; [`export!`](crate::export!) expands to this.
//!
//! No panic crosses the C interface: a plugin that panics is taken out of its slot and never called again.
#![allow(unsafe_code, reason = "implements the C functions of hark_plugin.h")]

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Once;

use crate::event::{Event, Kind};
use crate::{Error, Host, Level, Plugin, abi};

/// Exports a [`Plugin`](crate::Plugin) as the symbol `hark_plugin`. Use it once in a crate of type `cdylib`.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(panic = "abort")]
        compile_error!(
            "a Hark plugin needs panic = \"unwind\": with \"abort\" a panic ends the whole process"
        );

        /// The symbol that the daemon looks up in this library.
        #[allow(unsafe_code, non_upper_case_globals, reason = "the contract fixes the name")]
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
        schema: Some(schema::<P>),
    }
}

unsafe extern "C" fn schema<P: Plugin>() -> *const c_char {
    match catch_unwind(P::schema) {
        // Leaked: it lives as long as the library, and the daemon asks once.
        Ok(schema) => CString::new(schema.as_value().to_string())
            .map_or(ptr::null(), |text| text.into_raw().cast_const()),
        Err(payload) => {
            std::mem::forget(payload);
            ptr::null()
        }
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
    let made: Result<Result<P, Error>, _> = catch_unwind(AssertUnwindSafe(|| {
        let plugin = P::create(std::str::from_utf8(config)?)?;
        for warning in plugin.warnings() {
            host.log(Level::Warn, &warning);
        }
        Ok(plugin)
    }));
    match made {
        Ok(Ok(plugin)) => Box::into_raw(Box::new(Slot(Some(plugin)))).cast(),
        Ok(Err(error)) => {
            host.log(Level::Error, &error.to_string());
            error.more().iter().for_each(|mistake| host.log(Level::Error, mistake));
            ptr::null_mut()
        }
        Err(payload) => {
            log_panic(&host, "create", payload);
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
        // A later daemon may send kinds that this version does not know; they are ignored.
        let Ok(kind) = std::str::from_utf8(kind)?.parse::<Kind>() else { return Ok(()) };
        plugin.on_event(&Event::parse(&kind, body)?, &host)
    }));
    let result: Result<(), Error> = match called {
        Ok(result) => {
            slot.0 = Some(plugin);
            result
        }
        Err(payload) => {
            log_panic(&host, "on_event", payload);
            // Not dropped: the plugin's state may be inconsistent, and a second panic here would not be caught. The process ends soon.
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
        log_panic(&host, "destroy", payload);
    }
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// `catch_unwind` returns the panic message only; a panic hook gets the location.
fn remember_where_panics_happen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string);
            // During a panic in the destruction of thread locals the location cannot be stored; it is then reported as unknown.
            let _ = LAST_PANIC.try_with(|last| *last.borrow_mut() = place);
            previous(panic);
        }));
    });
}

/// Logs a panic: its location at error, its message only at trace, since a panic of `str` slicing quotes the sliced text.
fn log_panic(host: &Host, function: &str, payload: Box<dyn Any + Send>) {
    let words = payload
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a payload that is not text".to_owned());
    let place =
        LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or_else(|| "an unknown location".to_owned());
    host.log(Level::Trace, &format!("panic in {function}: {words}"));
    host.log(Level::Error, &format!("panicked in {function} at {place}; its message is at trace level"));
    // Not dropped: the payload's destructor is the plugin's code too, and may panic.
    std::mem::forget(payload);
}
