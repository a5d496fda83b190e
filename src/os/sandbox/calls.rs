//! The system calls that no command needs, as a filter for the kernel. It names what is forbidden, not what is allowed: which calls
//! a C library makes for memory, files and threads changes with its versions, and a command must not break with them.

use libc::{self as c, c_long};

/// Networks, programs, other processes, mounts, the machine itself; and what reaches files or memory by other ways than files.
const FORBIDDEN: [c_long; 56] = [
    // Not socketpair, which leads nowhere: editing of lines waits at one for a new size of the terminal.
    c::SYS_socket,
    c::SYS_connect,
    c::SYS_bind,
    c::SYS_listen,
    c::SYS_accept4,
    c::SYS_execve,
    c::SYS_execveat,
    c::SYS_ptrace,
    c::SYS_process_vm_readv,
    c::SYS_process_vm_writev,
    c::SYS_process_madvise,
    c::SYS_pidfd_open,
    c::SYS_pidfd_getfd,
    c::SYS_kcmp,
    c::SYS_mount,
    c::SYS_umount2,
    c::SYS_mount_setattr,
    c::SYS_open_tree,
    c::SYS_move_mount,
    c::SYS_fsopen,
    c::SYS_fsconfig,
    c::SYS_fsmount,
    c::SYS_fspick,
    c::SYS_pivot_root,
    c::SYS_chroot,
    c::SYS_setns,
    c::SYS_unshare,
    c::SYS_name_to_handle_at,
    c::SYS_open_by_handle_at,
    c::SYS_fanotify_init,
    c::SYS_quotactl,
    c::SYS_acct,
    c::SYS_swapon,
    c::SYS_swapoff,
    c::SYS_bpf,
    c::SYS_perf_event_open,
    c::SYS_userfaultfd,
    c::SYS_io_uring_setup,
    c::SYS_io_uring_enter,
    c::SYS_io_uring_register,
    c::SYS_memfd_create,
    c::SYS_personality,
    c::SYS_add_key,
    c::SYS_request_key,
    c::SYS_keyctl,
    c::SYS_init_module,
    c::SYS_finit_module,
    c::SYS_delete_module,
    c::SYS_kexec_load,
    c::SYS_reboot,
    c::SYS_sethostname,
    c::SYS_setdomainname,
    c::SYS_settimeofday,
    c::SYS_clock_settime,
    c::SYS_adjtimex,
    c::SYS_syslog,
];

/// How the kernel names this machine, and from where on calls have a second set of numbers; none where the filter is not written
/// for it.
fn machine() -> Option<(u32, Option<u32>)> {
    match std::env::consts::ARCH {
        "x86_64" => Some((0xc000_003e, Some(0x4000_0000))),
        "aarch64" => Some((0xc000_00b7, None)),
        "arm" => Some((0x4000_0028, None)),
        _ => None,
    }
}

/// An instruction of a filter: code, instructions to leave out where it holds and where it does not, operand.
pub(in crate::os) type Instruction = (u16, u8, u8, u32);

/// The filter by which the calls fail as if they were not permitted; none where there is none for this machine. Where the process
/// `accepts` connections, those that take one at a socket are left to it.
pub(super) fn filter(accepts: bool) -> Option<Vec<Instruction>> {
    const LOAD: u16 = 0x20;
    const EQUALS: u16 = 0x15;
    const AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    // Where the number of the call, the machine, and the lower half of the second argument stand.
    const NUMBER: u32 = 0;
    const KIND: u32 = 4;
    const SECOND: u32 = 24;
    const ALLOW: u32 = 0x7fff_0000;
    let refused = (RETURN, 0, 0, 0x0005_0000 | c::EPERM as u32);
    let (machine, second_numbers) = machine()?;
    let mut out = vec![(LOAD, 0, 0, KIND), (EQUALS, 1, 0, machine), refused, (LOAD, 0, 0, NUMBER)];
    if let Some(other) = second_numbers {
        out.extend([(AT_LEAST, 0, 1, other), refused]);
    }
    let taking = [c::SYS_listen, c::SYS_accept4];
    for call in FORBIDDEN.into_iter().filter(|call| !(accepts && taking.contains(call))) {
        out.extend([(EQUALS, 0, 1, call as u32), refused]);
    }
    // To type into a terminal what its owner did not type.
    out.extend([(EQUALS, 0, 4, c::SYS_ioctl as u32), (LOAD, 0, 0, SECOND)]);
    out.extend([(EQUALS, 1, 0, c::TIOCSTI as u32), (EQUALS, 0, 1, c::TIOCLINUX as u32), refused]);
    out.push((RETURN, 0, 0, ALLOW));
    Some(out)
}
