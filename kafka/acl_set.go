package kafka

import (
	"iter"
	"strings"
)

// Decision is what ACLs say about an operation.
type Decision uint8

// The decisions.
const (
	// NoACL: no ACL is about the resource at all. Kafka denies then, unless allow.everyone.if.no.acl.found is set.
	NoACL Decision = iota
	// Denied: an ACL denies the operation, or none of those about the resource allows it.
	Denied
	// Allowed: an ACL allows the operation and none denies it.
	Allowed
)

// ACLSet is a set of ACLs that decides who may do what. The zero value is empty and ready to use. It may be read by several
// goroutines at a time while nobody changes it.
type ACLSet struct {
	all      map[ACL]struct{}
	literal  map[resource][]ACL
	prefixed map[resource][]ACL
	// lengths are how long the prefixes of a type are: bit n%64 of word n/64 for a prefix of n bytes, all beyond the last one
	// in the last one.
	lengths [ResourceUser + 1][maxPrefix/64 + 1]uint64
}

// resource names a resource, or a pattern of them.
type resource struct {
	kind ResourceType
	name string
}

// maxPrefix is the length from which on prefixes are looked for at each length.
const maxPrefix = 255

// Len returns how many ACLs there are.
func (s *ACLSet) Len() int { return len(s.all) }

// All iterates over the ACLs, in no order.
func (s *ACLSet) All() iter.Seq[ACL] {
	return func(yield func(ACL) bool) {
		for a := range s.all {
			if !yield(a) {
				return
			}
		}
	}
}

// Has reports whether an ACL is in the set.
func (s *ACLSet) Has(a ACL) bool {
	_, ok := s.all[a]
	return ok
}

// Add adds an ACL that is valid, and reports whether it was not there.
func (s *ACLSet) Add(a ACL) bool {
	if s.Has(a) {
		return false
	}
	if s.all == nil {
		s.all, s.literal, s.prefixed = make(map[ACL]struct{}), make(map[resource][]ACL), make(map[resource][]ACL)
	}
	s.all[a] = struct{}{}
	at := resource{a.Resource, a.Name}
	if a.Pattern == PatternPrefixed {
		s.prefixed[at] = append(s.prefixed[at], a)
		n := min(len(a.Name), maxPrefix)
		s.lengths[a.Resource][n/64] |= 1 << (n % 64)
	} else {
		s.literal[at] = append(s.literal[at], a)
	}
	return true
}

// Remove removes an ACL, and reports whether it was there.
func (s *ACLSet) Remove(a ACL) bool {
	if !s.Has(a) {
		return false
	}
	delete(s.all, a)
	m, at := s.literal, resource{a.Resource, a.Name}
	if a.Pattern == PatternPrefixed {
		m = s.prefixed
	}
	list := m[at]
	for i := range list {
		if list[i] == a {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
			break
		}
	}
	if m[at] = list; len(list) == 0 {
		delete(m, at)
	}
	return true
}

// Decide decides whether a principal, "Type:Name", may do something from a host, an IP address. The rules are Kafka's: an ACL
// that denies goes before all that allow; who may read, write, delete or alter may describe too, and who may alter configs may
// describe them. It allocates nothing.
func (s *ACLSet) Decide(principal, host string, op ACLOperation, kind ResourceType, name string) Decision {
	if kind < 0 || kind > ResourceUser {
		return NoACL
	}
	d := question{principal: principal, host: host, op: op}
	d.ask(s.literal[resource{kind, name}])
	if name != "*" {
		d.ask(s.literal[resource{kind, "*"}])
	}
	lengths := &s.lengths[kind]
	for n := 1; n <= len(name) && !d.denied; n++ {
		if at := min(n, maxPrefix); lengths[at/64]&(1<<(at%64)) != 0 {
			d.ask(s.prefixed[resource{kind, name[:n]}])
		}
	}
	switch {
	case d.denied:
		return Denied
	case d.allowed:
		return Allowed
	case d.found:
		return Denied
	}
	return NoACL
}

// question is what somebody wants to do, and what the ACLs that were asked say.
type question struct {
	principal, host        string
	op                     ACLOperation
	found, allowed, denied bool
}

// ask asks ACLs that are about the resource.
func (q *question) ask(list []ACL) {
	for i := range list {
		a := &list[i]
		q.found = true
		if !a.concerns(q.principal, q.host) {
			continue
		}
		switch {
		case a.Permission == PermissionDeny:
			q.denied = q.denied || a.Operation == q.op || a.Operation == OperationAll
		case a.Operation == q.op || a.Operation == OperationAll || a.Operation.implies(q.op):
			q.allowed = true
		}
	}
}

// concerns reports whether an ACL is about a principal on a host.
func (a *ACL) concerns(principal, host string) bool {
	if a.Host != "*" && a.Host != host {
		return false
	}
	if a.Principal == principal {
		return true
	}
	kind, ok := strings.CutSuffix(a.Principal, ":*")
	return ok && len(principal) > len(kind) && principal[len(kind)] == ':' && principal[:len(kind)] == kind
}

// implies reports whether who is allowed o is allowed op, too.
func (o ACLOperation) implies(op ACLOperation) bool {
	switch op {
	case OperationDescribe:
		return o == OperationRead || o == OperationWrite || o == OperationDelete || o == OperationAlter
	case OperationDescribeConfigs:
		return o == OperationAlterConfigs
	}
	return false
}

// DecideAny decides whether a principal may do something with any resource of a type: there is one that an ACL allows and that
// no other ACL takes away as a whole. NoACL says that none of the type is about the principal and the operation.
func (s *ACLSet) DecideAny(principal, host string, op ACLOperation, kind ResourceType) Decision {
	var deny, allow []*ACL
	for a := range s.all {
		if a.Resource == kind && a.concerns(principal, host) && (a.Operation == op || a.Operation == OperationAll) {
			if a.Permission == PermissionAllow {
				allow = append(allow, &a)
			} else {
				deny = append(deny, &a)
			}
		}
	}
	for _, a := range allow {
		if !a.taken(deny) {
			return Allowed
		}
	}
	for _, a := range deny {
		if a.Pattern == PatternLiteral && a.Name == "*" {
			return Denied
		}
	}
	if len(allow) > 0 {
		return Denied
	}
	return NoACL
}

// taken reports whether one of others is about all that a is about.
func (a *ACL) taken(others []*ACL) bool {
	for _, o := range others {
		switch {
		case o.Pattern == PatternLiteral && o.Name == "*":
			return true
		case a.Pattern == PatternLiteral && a.Name == "*":
		case o.Pattern == PatternPrefixed && strings.HasPrefix(a.Name, o.Name):
			return true
		case o.Pattern == PatternLiteral && a.Pattern == PatternLiteral && o.Name == a.Name:
			return true
		}
	}
	return false
}
