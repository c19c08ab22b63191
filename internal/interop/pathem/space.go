package pathem

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// mtu is that of an ordinary path.
const mtu = 1500

// A Space is a network namespace at one end of a path.
type Space struct {
	ns  *os.File // the namespace
	tun *os.File // its end of the path
}

// newSpace makes a namespace with a loopback device and a TUN device that has the addresses.
func newSpace(addrs ...netip.Addr) (*Space, error) {
	s := new(Space)
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		var err error
		if s.ns, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); err != nil {
			return err
		}
		if err := setUp("lo"); err != nil {
			return err
		}
		if s.tun, err = openTUN("path", addrs); err != nil {
			return err
		}
		return setUp("path")
	})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Space) close() {
	for _, f := range []*os.File{s.tun, s.ns} {
		if f != nil {
			f.Close()
		}
	}
}

// Do calls f on a thread in the namespace and returns its error. Sockets that f makes belong to the namespace for as long
// as they live, whoever uses them. Goroutines that f starts do not run there.
func (s *Space) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}

// Start starts a command in the namespace.
func (s *Space) Start(cmd *exec.Cmd) error { return s.Do(cmd.Start) }

// onOwnThread calls f on a thread that ends with it, so that what f does to the thread concerns nobody else.
func onOwnThread(f func() error) error {
	err := make(chan error)
	go func() {
		runtime.LockOSThread()
		err <- f()
	}()
	return <-err
}

// openTUN makes a TUN device in the namespace of the thread and gives it its addresses, each in a network of 256.
func openTUN(name string, addrs []netip.Addr) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	// The file comes after the device: the poller takes no notice of a descriptor that had none.
	if err := attach(fd, name); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "/dev/net/tun")
	for i, a := range addrs {
		label := name
		if i > 0 {
			label = fmt.Sprintf("%s:%d", name, i)
		}
		if err := setAddr(label, a); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// attach makes the device.
func attach(fd int, name string) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return os.NewSyscallError("TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, req))
}

func setAddr(name string, a netip.Addr) error {
	return withSocket(func(fd int) error {
		for _, x := range []struct {
			request uint
			value   netip.Addr
		}{
			{unix.SIOCSIFADDR, a},
			{unix.SIOCSIFNETMASK, netip.AddrFrom4([4]byte{255, 255, 255, 0})},
		} {
			req, err := unix.NewIfreq(name)
			if err != nil {
				return err
			}
			if err := req.SetInet4Addr(x.value.AsSlice()); err != nil {
				return err
			}
			if err := unix.IoctlIfreq(fd, x.request, req); err != nil {
				return fmt.Errorf("%s: address %v: %w", name, x.value, err)
			}
		}
		return nil
	})
}

// setUp lets a device work, with a queue that is long enough for the bursts of a fast sender.
func setUp(name string) error {
	return withSocket(func(fd int) error {
		for _, x := range []struct {
			request uint
			set     func(*unix.Ifreq)
		}{
			{unix.SIOCSIFMTU, func(r *unix.Ifreq) { r.SetUint32(mtu) }},
			{unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) { r.SetUint32(10_000) }},
			{unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING) }},
		} {
			req, err := unix.NewIfreq(name)
			if err != nil {
				return err
			}
			if name == "lo" && x.request != unix.SIOCSIFFLAGS {
				continue
			}
			x.set(req)
			if err := unix.IoctlIfreq(fd, x.request, req); err != nil {
				return fmt.Errorf("%s: ioctl %#x: %w", name, x.request, err)
			}
		}
		return nil
	})
}

func withSocket(f func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	return errors.Join(f(fd), unix.Close(fd))
}
