//! The least that anything between client and server can cost: passes on what it receives and reads nothing of it. By epoll, with one
//! wait, one receive and one send for each message each way, as every proxy here has them; or by io_uring, with a buffer ring,
//! receives that stay armed and sends through the ring. `cost.py --forwarder` measures it beside the others. It never ends by itself
//! and closes nothing.

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

/// A connection, and the one that it is passed on to.
type Pairs = HashMap<RawFd, (TcpStream, RawFd)>;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, by, listen, to] = words.as_slice() else { panic!("forwarder epoll|uring LISTEN TO") };
    let listener = TcpListener::bind(listen)?;
    if by == "epoll" { by_epoll(&listener, to) } else { by_uring(&listener, to) }
}

fn pair(listener: &TcpListener, to: &str, pairs: &mut Pairs) -> io::Result<[RawFd; 2]> {
    let (client, server) = (listener.accept()?.0, TcpStream::connect(to)?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let both = [client.as_raw_fd(), server.as_raw_fd()];
    pairs.insert(both[0], (client, both[1]));
    pairs.insert(both[1], (server, both[0]));
    Ok(both)
}

/// One side is gone: the other hears of it. Both stay open, so that no number is used again while something is under way for it.
fn part(pairs: &Pairs, parted: &mut HashSet<RawFd>, at: RawFd) {
    // each once: a shutdown is an event, too
    if !parted.insert(at) {
        return;
    }
    for stream in [at, pairs[&at].1].iter().filter_map(|fd| pairs.get(fd)) {
        let _ = stream.0.shutdown(Shutdown::Both);
    }
}

fn by_epoll(listener: &TcpListener, to: &str) -> io::Result<()> {
    let (mut pairs, mut parted, mut buffer) = (Pairs::new(), HashSet::new(), [0u8; 16 * 1024]);
    // SAFETY: plain system calls on descriptors and buffers that live as long as this function.
    unsafe {
        let epoll = libc::epoll_create1(0);
        let add = |fd: RawFd, events: i32| {
            let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: u64::from(fd.cast_unsigned()) };
            libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event);
        };
        add(listener.as_raw_fd(), libc::EPOLLIN);
        let mut events: [libc::epoll_event; 64] = std::mem::zeroed();
        loop {
            let count = libc::epoll_wait(epoll, events.as_mut_ptr(), 64, -1);
            for event in events.iter().take(usize::try_from(count).unwrap_or(0)) {
                let fd = event.u64 as RawFd;
                if fd == listener.as_raw_fd() {
                    pair(listener, to, &mut pairs)?.into_iter().for_each(|fd| add(fd, libc::EPOLLIN | libc::EPOLLET));
                    continue;
                }
                let got = libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT);
                match usize::try_from(got) {
                    Ok(0) => part(&pairs, &mut parted, fd),
                    Ok(got) => _ = libc::send(pairs[&fd].1, buffer.as_ptr().cast(), got, libc::MSG_NOSIGNAL),
                    Err(_) => {}
                }
            }
        }
    }
}

const BUFFERS: u16 = 256;
const LENGTH: usize = 4096;
const ACCEPTS: u64 = 1 << 60;
const RECEIVES: u64 = 2 << 60;
const SENDS: u64 = 3 << 60;

/// Buffers that the kernel receives into.
struct Buffers {
    ring: *mut types::BufRingEntry,
    memory: Vec<u8>,
    tail: u16,
}

impl Buffers {
    fn new(uring: &IoUring) -> io::Result<Self> {
        let (read_write, own) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_ANONYMOUS | libc::MAP_PRIVATE);
        // SAFETY: a fresh mapping of a page, which 256 entries of 16 bytes fill, registered once and never unmapped.
        let ring: *mut types::BufRingEntry =
            unsafe { libc::mmap(std::ptr::null_mut(), 4096, read_write, own, -1, 0) }.cast();
        unsafe { uring.submitter().register_buf_ring_with_flags(ring as u64, BUFFERS, 0, 0)? };
        let mut buffers = Self { ring, memory: vec![0; usize::from(BUFFERS) * LENGTH], tail: 0 };
        (0..BUFFERS).for_each(|id| buffers.give(id));
        Ok(buffers)
    }

    fn at(&mut self, id: u16) -> *mut u8 {
        &raw mut self.memory[usize::from(id) * LENGTH]
    }

    /// The kernel may fill it again.
    fn give(&mut self, id: u16) {
        let address = self.at(id) as u64;
        // SAFETY: within the mapped ring; the tail is published after the entry.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail & (BUFFERS - 1)));
            entry.set_addr(address);
            entry.set_len(LENGTH as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            (*types::BufRingEntry::tail(self.ring).cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }
}

fn by_uring(listener: &TcpListener, to: &str) -> io::Result<()> {
    let mut uring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(256)?;
    let (mut pairs, mut parted, mut buffers) = (Pairs::new(), HashSet::new(), Buffers::new(&uring)?);
    let push = |uring: &mut IoUring, entry: squeue::Entry| -> io::Result<()> {
        // SAFETY: what the entry points to is a buffer of the ring, which is given back only when it is done.
        while unsafe { uring.submission().push(&entry) }.is_err() {
            uring.submit()?;
        }
        Ok(())
    };
    let receive = |fd: RawFd| {
        opcode::RecvMulti::new(types::Fd(fd), 0).build().user_data(RECEIVES | u64::from(fd.cast_unsigned()))
    };
    let readable = opcode::PollAdd::new(types::Fd(listener.as_raw_fd()), libc::POLLIN as u32).multi(true);
    push(&mut uring, readable.build().user_data(ACCEPTS))?;
    let mut done: Vec<(u64, i32, u32)> = Vec::new();
    loop {
        uring.submit_and_wait(1)?;
        done.extend(uring.completion().map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        for (what, result, flags) in done.drain(..) {
            let fd = (what & 0xFFFF_FFFF) as RawFd;
            match what & (0xF << 60) {
                ACCEPTS => {
                    for fd in pair(listener, to, &mut pairs)? {
                        push(&mut uring, receive(fd))?;
                    }
                }
                RECEIVES if result > 0 => {
                    let id = cqueue::buffer_select(flags).expect("a buffer of the ring");
                    let other = pairs[&fd].1;
                    let send = opcode::Send::new(types::Fd(other), buffers.at(id), result.cast_unsigned());
                    push(&mut uring, send.flags(libc::MSG_NOSIGNAL).build().user_data(SENDS | u64::from(id)))?;
                    if !cqueue::more(flags) {
                        push(&mut uring, receive(fd))?;
                    }
                }
                RECEIVES if result == -libc::ENOBUFS => push(&mut uring, receive(fd))?,
                RECEIVES => part(&pairs, &mut parted, fd),
                _ => buffers.give((what & 0xFFFF) as u16),
            }
        }
    }
}
