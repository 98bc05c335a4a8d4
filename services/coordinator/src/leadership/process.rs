//! Whether another process of this machine is still there, so that nobody waits for one that was killed.

use std::fs;

use relief_store::{Holder, ProcessMark};

/// The mark of this process, where the system tells what it is made of.
pub(crate) fn mark() -> Option<ProcessMark> {
    let pid = std::process::id();
    let (boot_id, pid_namespace) = place()?;
    Some(ProcessMark { boot_id, pid_namespace, pid, start_time: start_time(pid)? })
}

/// Whether a holder was a process of this machine, and is one no more.
pub(crate) fn is_dead(holder: &Holder) -> bool {
    let Some(process) = &holder.process else { return false };
    let is_here = place().is_some_and(|here| here == (process.boot_id.clone(), process.pid_namespace.clone()));
    // A number is given to others in time; the moment of the start tells them apart.
    is_here && start_time(process.pid) != Some(process.start_time)
}

/// Which kernel, since which boot, and in it which numbering of processes.
fn place() -> Option<(String, String)> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some((boot_id.trim().to_owned(), namespace.to_str()?.to_owned()))
}

/// When a process was started, in clock ticks since the boot; none when there is none of that number, or nothing of it
/// but its number is left.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; proc(5) counts the state as field 3 and the start as field 22.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    fn holder(process: Option<ProcessMark>) -> Holder {
        Holder { id: "other".to_owned(), endpoint: "http://other:1".to_owned(), process }
    }

    #[test]
    fn a_process_that_runs_is_not_dead() {
        assert!(!is_dead(&holder(mark())));
        assert!(mark().is_some());
    }

    #[test]
    fn a_process_that_has_ended_is_dead() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        let start_time = start_time(child.id()).expect("its start");
        let holder = holder(mark().map(|mark| ProcessMark { pid: child.id(), start_time, ..mark }));
        assert!(!is_dead(&holder));
        child.kill().expect("a signal");
        // Not waited for yet, it is a zombie.
        let is_gone = || is_dead(&holder);
        (0..200).take_while(|_| !is_gone()).for_each(|_| std::thread::sleep(std::time::Duration::from_millis(10)));
        assert!(is_gone());
        child.wait().expect("its end");
        assert!(is_gone());
    }

    #[test]
    fn of_other_machines_and_containers_nothing_is_known() {
        assert!(!is_dead(&holder(None)));
        let of = |change: fn(&mut ProcessMark)| {
            let mut mark = mark().expect("a mark");
            mark.start_time += 1;
            change(&mut mark);
            holder(Some(mark))
        };
        assert!(is_dead(&of(|_| {})), "its number is another's now");
        assert!(!is_dead(&of(|mark| mark.boot_id.push('x'))));
        assert!(!is_dead(&of(|mark| mark.pid_namespace.push('x'))));
    }
}
