package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// The faults a node can have.
const (
	faultRefuse           = "refuse"
	faultHang             = "hang"
	faultDrop             = "drop"
	faultReject           = "reject"
	faultTooEarly         = "too-early"
	faultSlowReboot       = "slow-reboot"
	faultWrongCertificate = "wrong-certificate"
)

// callFaults are the ones that happen to one call.
var callFaults = []string{faultHang, faultDrop, faultReject, faultTooEarly}

// fault is one element of the faults file.
type fault struct {
	Fault   string  `json:"fault"`
	Method  string  `json:"method"`
	Times   int     `json:"times"`
	Seconds float64 `json:"seconds"`
	When    string  `json:"when"`

	// key counts the uses of this fault.
	key string
}

// check reports what is wrong with a fault.
func (f *fault) check() error {
	switch f.Fault {
	case faultHang, faultDrop, faultReject, faultTooEarly:
	case faultRefuse, faultSlowReboot, faultWrongCertificate:
		if f.Method != "" {
			return fmt.Errorf("fault %q has no method", f.Fault)
		}
	default:
		return fmt.Errorf("unknown fault %q", f.Fault)
	}

	switch {
	case f.When != "" && f.Fault != faultDrop:
		return fmt.Errorf("fault %q has no \"when\"", f.Fault)
	case f.When != "" && f.When != "before" && f.When != "after":
		return fmt.Errorf("\"when\" is \"before\" or \"after\", not %q", f.When)
	case f.Times < 0 || f.Seconds < 0:
		return errors.New("\"times\" and \"seconds\" must not be negative")
	case f.Fault == faultSlowReboot && f.Seconds == 0:
		return errors.New("fault \"slow-reboot\" needs \"seconds\"")
	}

	return nil
}

// matches tells whether a fault is for a method.
func (f *fault) matches(method string) bool {
	if f.Method == "" && f.Fault == faultReject {
		return method == "ApplyConfiguration"
	}

	if f.Method == "" && f.Fault == faultTooEarly {
		return method == "Bootstrap"
	}

	return f.Method == "" || f.Method == method
}

// duration is the fault's "seconds".
func (f *fault) duration() time.Duration {
	return time.Duration(f.Seconds * float64(time.Second))
}

// callFault is what a fault does to one call.
type callFault struct {
	hang       bool
	bound      time.Duration
	dropBefore bool
	dropAfter  bool
	reject     bool
	tooEarly   bool
}

// faultBook reads the faults file whenever it changes and counts how often each
// fault was used. Counting starts again when the file is written again.
type faultBook struct {
	path     string
	usedPath string
	logf     func(string, ...any)

	mu     sync.Mutex
	faults map[netip.Addr][]*fault
	used   usedFaults
}

// usedFaults is what is remembered of the counts.
type usedFaults struct {
	// File identifies the version of the faults file that was counted.
	File string         `json:"file"`
	Used map[string]int `json:"used"`
}

// openFaultBook starts with what was counted before.
func openFaultBook(stateDir string, logf func(string, ...any)) (*faultBook, error) {
	book := &faultBook{
		path:     filepath.Join(stateDir, "faults.json"),
		usedPath: filepath.Join(stateDir, "faults-used.json"),
		logf:     logf,
	}

	if err := readJSON(book.usedPath, &book.used); err != nil {
		return nil, err
	}

	counted := book.used
	book.used = usedFaults{}
	book.refresh()

	if book.used.File == counted.File && counted.Used != nil {
		book.used = counted
	}

	return book, nil
}

// refresh reads the faults file if it is not the one that was read last. The
// caller holds the lock.
func (b *faultBook) refresh() {
	version := fileVersion(b.path)
	if b.used.Used != nil && version == b.used.File {
		return
	}

	b.used = usedFaults{File: version, Used: map[string]int{}}
	b.faults = nil

	data, err := readOptional(b.path)
	if err == nil && len(bytes.TrimSpace(data)) > 0 {
		b.faults, err = parseFaults(data)
	}

	if err != nil {
		b.logf("%s is ignored: %v", b.path, err)
	}
}

// fileVersion changes whenever a file is written; it is empty without a file.
func fileVersion(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err.Error()
		}

		return ""
	}

	inode := uint64(0)
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = system.Ino
	}

	return fmt.Sprintf("%d-%d-%d", info.ModTime().UnixNano(), info.Size(), inode)
}

// parseFaults reads the contents of a faults file.
func parseFaults(data []byte) (map[netip.Addr][]*fault, error) {
	var byText map[string][]*fault

	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()

	if err := decoder.Decode(&byText); err != nil {
		return nil, err
	}

	all := map[netip.Addr][]*fault{}

	for text, list := range byText {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not an address", text)
		}

		for i, f := range list {
			if f == nil {
				return nil, fmt.Errorf("%s, element %d: null", text, i+1)
			}

			if err = f.check(); err != nil {
				return nil, fmt.Errorf("%s, element %d: %w", text, i+1, err)
			}

			f.key = fmt.Sprintf("%s/%d", address, i)
		}

		all[address] = list
	}

	return all, nil
}

// take finds the first fault that is wanted and not used up, and counts it.
func (b *faultBook) take(address netip.Addr, wanted func(*fault) bool) *fault {
	b.mu.Lock()
	defer b.mu.Unlock()

	b.refresh()

	for _, f := range b.faults[address] {
		if !wanted(f) || (f.Times > 0 && b.used.Used[f.key] >= f.Times) {
			continue
		}

		if f.Times > 0 {
			b.used.Used[f.key]++

			if err := writeJSON(b.usedPath, b.used); err != nil {
				b.logf("cannot remember the used faults: %v", err)
			}
		}

		return f
	}

	return nil
}

// forCall returns what happens to one call.
func (b *faultBook) forCall(address netip.Addr, method string) callFault {
	f := b.take(address, func(f *fault) bool {
		return slices.Contains(callFaults, f.Fault) && f.matches(method)
	})
	if f == nil {
		return callFault{}
	}

	return callFault{
		hang:       f.Fault == faultHang,
		bound:      f.duration(),
		dropBefore: f.Fault == faultDrop && f.When != "after",
		dropAfter:  f.Fault == faultDrop && f.When == "after",
		reject:     f.Fault == faultReject,
		tooEarly:   f.Fault == faultTooEarly,
	}
}

// slowReboot returns how long the next reboot takes, if a fault says so.
func (b *faultBook) slowReboot(address netip.Addr) (time.Duration, bool) {
	if f := b.take(address, func(f *fault) bool { return f.Fault == faultSlowReboot }); f != nil {
		return f.duration(), true
	}

	return 0, false
}

// refuseConnection tells whether a connection that came in is refused.
func (b *faultBook) refuseConnection(address netip.Addr) bool {
	return b.take(address, func(f *fault) bool { return f.Fault == faultRefuse }) != nil
}

// refused tells whether the port is closed for as long as the file says so.
func (b *faultBook) refused(address netip.Addr) bool {
	return b.take(address, func(f *fault) bool { return f.Fault == faultRefuse && f.Times == 0 }) != nil
}

// wrongCertificate tells whether a connection gets a foreign certificate.
func (b *faultBook) wrongCertificate(address netip.Addr) bool {
	return b.take(address, func(f *fault) bool { return f.Fault == faultWrongCertificate }) != nil
}
