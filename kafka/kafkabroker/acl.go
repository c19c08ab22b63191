package kafkabroker

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// ACLOptions turn access control lists on.
type ACLOptions struct {
	// SuperUsers are principals, such as "User:admin", who may do everything (super.users). Without any, nobody can make the
	// first ACL but [Broker.AddACLs].
	SuperUsers []string
	// AllowEveryone lets everybody use what no ACL is about (allow.everyone.if.no.acl.found). Otherwise nobody but super users
	// may.
	AllowEveryone bool
}

// maxACLs bounds the ACLs of a broker.
const maxACLs = 100_000

// maxCompared bounds how many ACLs the filters of a request are compared with. What is beyond is answered with INVALID_REQUEST.
const maxCompared = 1 << 24

// acls decides who may do what. It is safe for concurrent use.
type acls struct {
	on       bool // ACLs hold
	super    map[string]bool
	everyone bool

	changing sync.Mutex    // held while a change is written
	version  atomic.Uint64 // of the set
	mu       sync.RWMutex
	set      kafka.ACLSet
}

// loadACLs reads the ACLs. They are kept when they do not hold, too.
func (b *Broker) loadACLs() error {
	a := &b.acls
	if o := b.opt.ACLs; o != nil {
		a.on, a.everyone, a.super = true, o.AllowEveryone, make(map[string]bool)
		for _, p := range o.SuperUsers {
			a.super[p] = true
		}
	}
	var changes []metaChange // of hosts that are not plain, of which the journal may have some
	err := b.eachMeta(metaACL, func(key string, _ []byte) error {
		entry, err := decodeACL(key)
		if err != nil {
			return err
		}
		if host := plainHost(entry.Host); host != entry.Host {
			entry.Host = host
			changes = append(changes, metaChange{kind: metaACL, key: key}, metaChange{metaACL, encodeACL(entry), []byte{}})
		}
		a.set.Add(entry)
		return nil
	})
	if err != nil {
		return err
	}
	return b.setMeta(changes...)
}

// encodeACL returns the key of an ACL in the metadata: all of it.
func encodeACL(a kafka.ACL) string {
	b := []byte{byte(a.Resource), byte(a.Pattern), byte(a.Operation), byte(a.Permission)}
	for _, s := range []string{a.Name, a.Principal, a.Host} {
		b = codec.AppendUvarint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	return string(b)
}

// decodeACL reads what encodeACL writes.
func decodeACL(key string) (a kafka.ACL, err error) {
	r := codec.NewReader([]byte(key))
	a.Resource, a.Pattern = kafka.ResourceType(r.Uint8()), kafka.PatternType(r.Uint8())
	a.Operation, a.Permission = kafka.ACLOperation(r.Uint8()), kafka.ACLPermission(r.Uint8())
	for _, s := range []*string{&a.Name, &a.Principal, &a.Host} {
		*s = string(r.Bytes(int(r.Uvarint32())))
	}
	if err := r.Err(); err != nil || r.Len() > 0 {
		return a, &corruptError{"the metadata journal", 0, "an ACL is cut short or too long"}
	}
	if err := a.Validate(); err != nil {
		return a, &corruptError{"the metadata journal", 0, err.Error()}
	}
	return a, nil
}

// plainHost returns the host of an ACL as that of a client is written: Java gives IPv6 addresses all of their zeros.
func plainHost(host string) string {
	if at, err := netip.ParseAddr(host); err == nil {
		return at.Unmap().WithZone("").String()
	}
	return host
}

// ACLs returns the ACLs that a filter finds, in the order of their resources.
func (b *Broker) ACLs(f kafka.ACLFilter) []kafka.ACL {
	b.acls.mu.RLock()
	defer b.acls.mu.RUnlock()
	list, _ := b.acls.find(f, nil)
	return list
}

// find returns the ACLs that a filter finds, without some, in order, and how many it was compared with. The caller holds mu, or
// changing.
func (a *acls) find(f kafka.ACLFilter, without map[kafka.ACL]bool) (list []kafka.ACL, compared int) {
	if f.Host != nil {
		f.Host = new(plainHost(*f.Host))
	}
	if entry, ok := onlyACL(&f); ok {
		if a.set.Has(entry) && !without[entry] {
			list = append(list, entry)
		}
		return list, 1
	}
	for entry := range a.set.All() {
		if f.Matches(entry) && !without[entry] {
			list = append(list, entry)
		}
	}
	slices.SortFunc(list, compareACLs)
	return list, a.set.Len()
}

// onlyACL returns the ACL that a filter asks for, if that leaves nothing open.
func onlyACL(f *kafka.ACLFilter) (entry kafka.ACL, ok bool) {
	if f.Name == nil || f.Principal == nil || f.Host == nil {
		return entry, false
	}
	entry = kafka.ACL{Resource: f.Resource, Name: *f.Name, Pattern: f.Pattern, Principal: *f.Principal, Host: *f.Host,
		Operation: f.Operation, Permission: f.Permission}
	return entry, entry.Validate() == nil
}

func compareACLs(a, b kafka.ACL) int {
	return cmp.Or(cmp.Compare(a.Resource, b.Resource), strings.Compare(a.Name, b.Name), cmp.Compare(a.Pattern, b.Pattern),
		strings.Compare(a.Principal, b.Principal), strings.Compare(a.Host, b.Host), cmp.Compare(a.Operation, b.Operation),
		cmp.Compare(a.Permission, b.Permission))
}

// AddACLs adds ACLs, all or none, and returns when they are durable. Those that are there already stay. An ACL that is not
// valid is an error that wraps INVALID_REQUEST; more than 100,000 ACLs are one that wraps POLICY_VIOLATION. IPv6 addresses of
// hosts are kept in their short form.
func (b *Broker) AddACLs(list ...kafka.ACL) error {
	for _, entry := range list {
		if err := entry.Validate(); err != nil {
			return err
		}
	}
	a := &b.acls
	a.changing.Lock()
	defer a.changing.Unlock()
	var changes []metaChange
	var added []kafka.ACL
	seen := make(map[kafka.ACL]bool)
	a.mu.RLock()
	n := a.set.Len()
	for _, entry := range list {
		entry.Host = plainHost(entry.Host)
		if !a.set.Has(entry) && !seen[entry] {
			seen[entry] = true
			added = append(added, entry)
			changes = append(changes, metaChange{metaACL, encodeACL(entry), []byte{}})
		}
	}
	a.mu.RUnlock()
	if n+len(added) > maxACLs {
		return logError(kafkawire.ErrPolicyViolation, "there are too many ACLs: at most %d", maxACLs)
	}
	if err := b.setMeta(changes...); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, entry := range added {
		a.set.Add(entry)
	}
	a.version.Add(1)
	return nil
}

// DeleteACLs deletes the ACLs that a filter finds, and returns them when that is durable.
func (b *Broker) DeleteACLs(f kafka.ACLFilter) ([]kafka.ACL, error) {
	d := []aclDeletion{{filter: f}}
	b.deleteACLs(d)
	return d[0].gone, d[0].err
}

// aclDeletion is a filter of ACLs that are to be deleted, and what became of it.
type aclDeletion struct {
	filter kafka.ACLFilter
	gone   []kafka.ACL // those that no filter before has found
	err    error
}

// deleteACLs deletes the ACLs that filters find which have no error, and returns when that is durable.
func (b *Broker) deleteACLs(list []aclDeletion) {
	a := &b.acls
	a.changing.Lock()
	defer a.changing.Unlock()
	found := make(map[kafka.ACL]bool)
	var changes []metaChange
	compared := 0
	for i := range list {
		d := &list[i]
		switch {
		case d.err != nil:
			continue
		case compared > maxCompared:
			d.err = logError(kafkawire.ErrInvalidRequest, "the filters of the request were compared with %d ACLs", compared)
			continue
		}
		var n int
		d.gone, n = a.find(d.filter, found)
		compared += n
		for _, entry := range d.gone {
			found[entry] = true
			changes = append(changes, metaChange{kind: metaACL, key: encodeACL(entry)})
		}
	}
	if err := b.setMeta(changes...); err != nil {
		for i := range list {
			if d := &list[i]; d.err == nil {
				d.gone, d.err = nil, err
			}
		}
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for entry := range found {
		a.set.Remove(entry)
	}
	a.version.Add(1)
}

// decide decides about a resource.
func (a *acls) decide(principal, host string, op kafka.ACLOperation, t kafka.ResourceType, name string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	switch a.set.Decide(principal, host, op, t, name) {
	case kafka.Allowed:
		return true
	case kafka.NoACL:
		return a.everyone
	}
	return false
}

// decideAny decides about whether there is a resource.
func (a *acls) decideAny(principal, host string, op kafka.ACLOperation, t kafka.ResourceType) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	switch a.set.DecideAny(principal, host, op, t) {
	case kafka.Allowed:
		return true
	case kafka.NoACL:
		return a.everyone
	}
	return false
}
