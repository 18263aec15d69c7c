//! Restricts system calls with seccomp.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// System call, and the rules under which it matches; a call without rules always matches.
type Calls = BTreeMap<c_long, Vec<SeccompRule>>;

const REFUSED: SeccompAction = SeccompAction::Errno(libc::EPERM as u32);

/// For the audio worker: a list of allowed calls.
pub(super) fn only_reading() -> Result<(), Error> {
    let mut allowed: Calls = READING.iter().map(|&call| (call, Vec::new())).collect();
    // abort() sends a signal to its own process.
    allowed.insert(libc::SYS_tgkill, vec![rule(&[argument(0, SeccompCmpOp::Eq, own_pid())?])?]);
    // The process's own limits, so that the worker can renew the CPU seconds for a job.
    allowed.insert(libc::SYS_prlimit64, vec![rule(&[argument(0, SeccompCmpOp::Eq, 0)?])?]);
    install(allowed, REFUSED, SeccompAction::Allow)
}

/// Calls that glibc and musl need for reading a descriptor, memory, the clock, the socket and exiting.
const READING: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// What else a process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freedom {
    None,
    /// Open internet connections.
    Network,
    /// Become another program.
    Program,
}

/// For a plugin, and for ffmpeg: a list of refused calls.
pub(super) fn nothing_dangerous(freedom: Freedom) -> Result<(), Error> {
    // clone3 has its flags in memory, which a filter cannot read; with ENOSYS C libraries fall back to clone.
    let unknown: Calls = [(libc::SYS_clone3, Vec::new())].into();
    install(unknown, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;

    let network = freedom == Freedom::Network;
    let mut refused: Calls = DANGEROUS.iter().map(|&call| (call, Vec::new())).collect();
    if freedom == Freedom::Program {
        refused.remove(&libc::SYS_execve);
    }
    let a_process = rule(&[argument(0, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)?])?;
    refused.insert(libc::SYS_clone, vec![a_process]);
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        refused.insert(call, vec![rule(&[argument(0, SeccompCmpOp::Ne, own_pid())?])?]);
    }
    let another = [argument(0, SeccompCmpOp::Ne, 0)?, argument(0, SeccompCmpOp::Ne, own_pid())?];
    refused.insert(libc::SYS_prlimit64, vec![rule(&another)?]);
    refused.insert(libc::SYS_prctl, each(0, &[libc::PR_SET_PDEATHSIG as u64, libc::PR_SET_DUMPABLE as u64])?);
    // Refused: two requests that type into the terminal from which the daemon was started, and two that make the kernel send signals to any
    // process, as three commands of fcntl do.
    refused.insert(libc::SYS_ioctl, each(1, &[libc::TIOCSTI, libc::TIOCLINUX, FIOSETOWN, SIOCSPGRP])?);
    // A lease blocks every process that opens the file for up to 45 s: it would block the daemon if the file is a library or a
    // configuration file of the resolver.
    refused.insert(libc::SYS_fcntl, each(1, &[F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE])?);
    // Anonymous shared memory: a plugin has no process to share it with, and the plugin's memory limit does not count it.
    let shared = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
    refused.insert(libc::SYS_mmap, vec![rule(&[argument(3, SeccompCmpOp::MaskedEq(shared), shared)?])?]);
    // With `network` the internet families and netlink, with which getaddrinfo queries the kernel; otherwise no family.
    let mut foreign = Vec::new();
    if network {
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK] {
            foreign.push(argument(0, SeccompCmpOp::Ne, family as u64)?);
        }
    }
    refused.insert(libc::SYS_socket, if network { vec![rule(&foreign)?] } else { Vec::new() });
    // A socket pair serves the plugin's own threads. Datagram pairs are refused, since either end can write to any unix socket; so are
    // "raw" pairs, which are the same.
    let mut leading_out = vec![rule(&[argument(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?])?];
    for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
        leading_out.push(rule(&[argument(1, SeccompCmpOp::MaskedEq(KIND_OF_SOCKET), kind as u64)?])?);
    }
    refused.insert(libc::SYS_socketpair, leading_out);
    #[cfg(target_arch = "x86_64")]
    refused.extend(x32_twins(&refused));
    install(refused, SeccompAction::Allow, REFUSED)
}

/// Mask of the bits of a socket's type that are not flags.
const KIND_OF_SOCKET: u64 = 0xf;

/// From `asm-generic`; the libc crate lacks these constants, or has them in another type.
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;
const F_SETOWN: u64 = 8;
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;
const F_SETLEASE: u64 = 1024;

/// Calls of kernels that are newer than the libc crate; the same numbers on every architecture.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const FILE_SETATTR: c_long = 469;

/// Calls that a plugin is refused: starting programs; access to other processes and to the system itself; ways around the filter; changing
/// a file's mode, owner and times, which landlock does not check and for which a file opened for reading is enough, and changing a file's
/// length by its path; memory that the limits do not count and that outlives the process; and setting the share of the machine that any
/// process of the same user gets, which the systemd unit refuses to all its processes.
const DANGEROUS: &[c_long] = &[
    FCHMODAT2,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fsetxattr,
    libc::SYS_fremovexattr,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_mq_open,
    libc::SYS_msgget,
    libc::SYS_removexattr,
    libc::SYS_semget,
    libc::SYS_setxattr,
    libc::SYS_shmat,
    libc::SYS_shmget,
    libc::SYS_truncate,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    libc::SYS_ioprio_set,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_set_mempolicy,
    libc::SYS_setpriority,
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_tkill,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// The same calls under the numbers of the x32 interface, which some kernels have and Hark does not use: the same numbers with the x32 bit
/// set, and the 36 numbers that only x32 has.
#[cfg(target_arch = "x86_64")]
fn x32_twins(refused: &Calls) -> Calls {
    const X32: c_long = 0x4000_0000;
    refused.keys().copied().chain(512..=547).map(|call| (call | X32, Vec::new())).collect()
}

fn each(index: u8, values: &[u64]) -> Result<Vec<SeccompRule>, Error> {
    values.iter().map(|&value| rule(&[argument(index, SeccompCmpOp::Eq, value)?])).collect()
}

fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(conditions.to_vec())?)
}

fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?)
}

fn own_pid() -> u64 {
    u64::from(std::process::id())
}

fn install(calls: Calls, otherwise: SeccompAction, matched: SeccompAction) -> Result<(), Error> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let program: BpfProgram = SeccompFilter::new(calls, otherwise, matched, architecture)?.try_into()?;
    seccompiler::apply_filter(&program)
}
