package kafka_test

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// acl makes an ACL of words: permission, principal, host, operation, type, name, where a name with "..." is a prefix.
func acl(t testing.TB, text string) kafka.ACL {
	t.Helper()
	w := strings.Fields(text)
	a := kafka.ACL{Principal: "User:" + w[1], Host: w[2], Pattern: kafka.PatternLiteral}
	number := func(name string, at func(int8) string) int8 {
		for i := range int8(20) {
			if at(i) == name {
				return i
			}
		}
		t.Fatalf("%q in %q", name, text)
		return 0
	}
	a.Permission = kafka.ACLPermission(number(w[0], func(i int8) string { return kafka.ACLPermission(i).String() }))
	a.Operation = kafka.ACLOperation(number(w[3], func(i int8) string { return kafka.ACLOperation(i).String() }))
	a.Resource = kafka.ResourceType(number(w[4], func(i int8) string { return kafka.ResourceType(i).String() }))
	a.Name = w[5]
	if name, ok := strings.CutSuffix(a.Name, "..."); ok {
		a.Name, a.Pattern = name, kafka.PatternPrefixed
	}
	if err := a.Validate(); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestACLDecide(t *testing.T) {
	var s kafka.ACLSet
	for _, text := range []string{
		"ALLOW alice * READ TOPIC orders",
		"ALLOW alice 192.0.2.7 WRITE TOPIC orders",
		"ALLOW bob * ALL TOPIC team-...",
		"DENY bob * WRITE TOPIC team-secret",
		"ALLOW * * DESCRIBE TOPIC *",
		"DENY * 192.0.2.66 ALL TOPIC *",
		"ALLOW carol * ALTER_CONFIGS TOPIC orders",
		"DENY carol * DESCRIBE TOPIC orders",
		"ALLOW alice * READ GROUP *",
		"ALLOW alice * ALTER CLUSTER kafka-cluster",
		"DENY dave * READ TRANSACTIONAL_ID x",
		"ALLOW dave * ALL TRANSACTIONAL_ID x...",
	} {
		if !s.Add(acl(t, text)) || s.Add(acl(t, text)) {
			t.Errorf("%s: added twice, or not at all", text)
		}
	}
	for _, c := range []struct {
		who, host string
		op        kafka.ACLOperation
		kind      kafka.ResourceType
		name      string
		want      kafka.Decision
	}{
		{"alice", "192.0.2.1", kafka.OperationRead, kafka.ResourceTopic, "orders", kafka.Allowed},
		{"alice", "192.0.2.1", kafka.OperationDescribe, kafka.ResourceTopic, "orders", kafka.Allowed}, // follows from read
		{"alice", "192.0.2.1", kafka.OperationWrite, kafka.ResourceTopic, "orders", kafka.Denied},
		{"alice", "192.0.2.7", kafka.OperationWrite, kafka.ResourceTopic, "orders", kafka.Allowed},
		{"alice", "192.0.2.1", kafka.OperationRead, kafka.ResourceTopic, "orders2", kafka.Denied},
		{"eve", "192.0.2.1", kafka.OperationDescribe, kafka.ResourceTopic, "anything", kafka.Allowed},
		{"eve", "192.0.2.66", kafka.OperationDescribe, kafka.ResourceTopic, "anything", kafka.Denied},
		{"bob", "192.0.2.1", kafka.OperationWrite, kafka.ResourceTopic, "team-a", kafka.Allowed},
		{"bob", "192.0.2.1", kafka.OperationAlterConfigs, kafka.ResourceTopic, "team-", kafka.Allowed},
		{"bob", "192.0.2.1", kafka.OperationWrite, kafka.ResourceTopic, "team", kafka.Denied},
		{"bob", "192.0.2.1", kafka.OperationWrite, kafka.ResourceTopic, "team-secret", kafka.Denied},
		{"bob", "192.0.2.1", kafka.OperationRead, kafka.ResourceTopic, "team-secret", kafka.Allowed},
		{"carol", "192.0.2.1", kafka.OperationDescribeConfigs, kafka.ResourceTopic, "orders", kafka.Allowed},
		{"carol", "192.0.2.1", kafka.OperationDescribe, kafka.ResourceTopic, "orders", kafka.Denied},
		{"alice", "::1", kafka.OperationRead, kafka.ResourceGroup, "g", kafka.Allowed},
		{"alice", "::1", kafka.OperationDelete, kafka.ResourceGroup, "g", kafka.Denied},
		{"alice", "::1", kafka.OperationAlter, kafka.ResourceCluster, kafka.ClusterName, kafka.Allowed},
		{"alice", "::1", kafka.OperationDescribe, kafka.ResourceCluster, kafka.ClusterName, kafka.Allowed},
		{"alice", "::1", kafka.OperationCreate, kafka.ResourceCluster, kafka.ClusterName, kafka.Denied},
		{"alice", "::1", kafka.OperationDescribe, kafka.ResourceUser, "alice", kafka.NoACL},
		{"dave", "::1", kafka.OperationDescribe, kafka.ResourceTransactionalID, "x", kafka.Allowed}, // the denial of read implies nothing
		{"dave", "::1", kafka.OperationRead, kafka.ResourceTransactionalID, "x", kafka.Denied},
		{"dave", "::1", kafka.OperationRead, kafka.ResourceTransactionalID, "xy", kafka.Allowed},
		{"dave", "::1", kafka.OperationRead, kafka.ResourceTransactionalID, "y", kafka.NoACL},
		{"dave", "::1", kafka.OperationRead, 99, "y", kafka.NoACL},
	} {
		if got := s.Decide("User:"+c.who, c.host, c.op, c.kind, c.name); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		s.Decide("User:bob", "192.0.2.1", kafka.OperationWrite, kafka.ResourceTopic, "team-secret")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestACLSet compares a set that changes with a list that is searched.
func TestACLSet(t *testing.T) {
	const seed = 3
	rnd := rand.New(rand.NewSource(seed))
	pick := func(list ...string) string { return list[rnd.Intn(len(list))] }
	var s kafka.ACLSet
	var list []kafka.ACL
	long := strings.Repeat("a", 254)
	for range 3000 {
		a := acl(t, strings.Join([]string{pick("ALLOW", "ALLOW", "DENY"), pick("x", "y", "*"), pick("1", "2", "*"), pick("READ", "WRITE", "ALL"),
			"TOPIC", pick("a", "ab", "ab...", "b...", "*", "abc...", long+"b...", long+"bcd...", long+"bcd")}, " "))
		i := slices.Index(list, a)
		if rnd.Intn(3) == 0 {
			if s.Remove(a) != (i >= 0) {
				t.Fatal("Remove")
			}
			if i >= 0 {
				list = slices.Delete(list, i, i+1)
			}
		} else if s.Add(a) == (i < 0) {
			if i < 0 {
				list = append(list, a)
			}
		} else {
			t.Fatal("Add")
		}
		if s.Len() != len(list) {
			t.Fatalf("%d ACLs, want %d", s.Len(), len(list))
		}
		who, host, name := "User:"+pick("x", "y", "z"), pick("1", "2", "3"), pick("a", "ab", "abc", "b", "bc", "c", "*", long+"bc", long+"bcd", long+"bcde")
		if got, want := s.Decide(who, host, kafka.OperationRead, kafka.ResourceTopic, name), decide(list, who, host, name); got != want {
			t.Fatalf("seed %d: %s from %s on %q: %v, want %v of %v", seed, who, host, name, got, want, list)
		}
	}
}

// decide is the definition of Decide for reading a topic.
func decide(list []kafka.ACL, who, host, name string) kafka.Decision {
	got := kafka.NoACL
	for _, a := range list {
		if a.Name != name && a.Name != "*" && (a.Pattern != kafka.PatternPrefixed || !strings.HasPrefix(name, a.Name)) {
			continue
		}
		got = max(got, kafka.Denied)
		if a.Principal != who && a.Principal != "User:*" || a.Host != host && a.Host != "*" || a.Operation == kafka.OperationWrite {
			continue
		}
		if a.Permission == kafka.PermissionDeny {
			return kafka.Denied
		}
		got = kafka.Allowed
	}
	return got
}

func TestACLDecideAny(t *testing.T) {
	for _, c := range []struct {
		acls string
		want kafka.Decision
	}{
		{"", kafka.NoACL},
		{"ALLOW bob * WRITE TOPIC t", kafka.NoACL},
		{"ALLOW alice 2 WRITE TOPIC t", kafka.NoACL},
		{"ALLOW alice * READ TOPIC t", kafka.NoACL},
		{"ALLOW alice * WRITE GROUP t", kafka.NoACL},
		{"ALLOW alice 1 WRITE TOPIC t", kafka.Allowed},
		{"ALLOW * * ALL TOPIC t...", kafka.Allowed},
		{"ALLOW alice * WRITE TOPIC t,DENY alice * WRITE TOPIC t", kafka.Denied},
		{"ALLOW alice * WRITE TOPIC t,DENY alice * READ TOPIC t", kafka.Allowed},
		{"ALLOW alice * WRITE TOPIC t,ALLOW alice * WRITE TOPIC u,DENY alice * WRITE TOPIC t", kafka.Allowed},
		{"ALLOW alice * WRITE TOPIC team-a...,DENY alice * WRITE TOPIC team-...", kafka.Denied},
		{"ALLOW alice * WRITE TOPIC team-...,DENY alice * WRITE TOPIC team-a...", kafka.Allowed},
		{"ALLOW alice * WRITE TOPIC team-a,DENY * * ALL TOPIC t...", kafka.Denied},
		{"ALLOW alice * WRITE TOPIC *,DENY * * ALL TOPIC t...", kafka.Allowed},
		{"ALLOW alice * WRITE TOPIC *,DENY * * ALL TOPIC *", kafka.Denied},
		{"DENY * * ALL TOPIC *", kafka.Denied},
		{"DENY * * ALL TOPIC t", kafka.NoACL},
	} {
		var s kafka.ACLSet
		for text := range strings.SplitSeq(c.acls, ",") {
			if text != "" {
				s.Add(acl(t, text))
			}
		}
		if got := s.DecideAny("User:alice", "1", kafka.OperationWrite, kafka.ResourceTopic); got != c.want {
			t.Errorf("%s: %v, want %v", c.acls, got, c.want)
		}
	}
}

func TestACLFilter(t *testing.T) {
	all := []kafka.ACL{
		acl(t, "ALLOW alice * READ TOPIC orders"),
		acl(t, "ALLOW alice * READ TOPIC ord..."),
		acl(t, "DENY bob 1 WRITE TOPIC *"),
		acl(t, "ALLOW alice * READ GROUP orders"),
	}
	name := func(pattern kafka.PatternType, name string) func(*kafka.ACLFilter) {
		return func(f *kafka.ACLFilter) { f.Pattern, f.Name = pattern, &name }
	}
	for i, c := range []struct {
		set  func(f *kafka.ACLFilter)
		want []int
	}{
		{func(*kafka.ACLFilter) {}, []int{0, 1, 2, 3}},
		{func(f *kafka.ACLFilter) { f.Resource = kafka.ResourceTopic }, []int{0, 1, 2}},
		{func(f *kafka.ACLFilter) { f.Principal = new("User:bob") }, []int{2}},
		{func(f *kafka.ACLFilter) { f.Principal = new("User:*") }, nil},
		{func(f *kafka.ACLFilter) { f.Host = new("*") }, []int{0, 1, 3}},
		{func(f *kafka.ACLFilter) { f.Operation = kafka.OperationWrite }, []int{2}},
		{func(f *kafka.ACLFilter) { f.Operation = kafka.OperationAll }, nil},
		{func(f *kafka.ACLFilter) { f.Permission = kafka.PermissionAllow }, []int{0, 1, 3}},
		{func(f *kafka.ACLFilter) { f.Pattern = kafka.PatternPrefixed }, []int{1}},
		{name(kafka.PatternLiteral, "orders"), []int{0, 3}},
		{name(kafka.PatternLiteral, "*"), []int{2}},
		{name(kafka.PatternAny, "ord"), []int{1}},
		{name(kafka.PatternMatch, "orders"), []int{0, 1, 2, 3}},
		{name(kafka.PatternMatch, "ordinary"), []int{1, 2}},
		{name(kafka.PatternMatch, "or"), []int{2}},
	} {
		f := kafka.AnyACL()
		c.set(&f)
		var got []int
		for j, a := range all {
			if f.Matches(a) {
				got = append(got, j)
			}
		}
		if !slices.Equal(got, c.want) || f.Validate() != nil {
			t.Errorf("filter %d finds %v, want %v", i, got, c.want)
		}
	}
	if err := new(kafka.ACLFilter).Validate(); !errors.Is(err, kafkawire.ErrInvalidRequest) {
		t.Error(err)
	}
}

func TestACLValidate(t *testing.T) {
	good := acl(t, "ALLOW alice * READ TOPIC orders")
	for i, spoil := range []func(a *kafka.ACL){
		func(a *kafka.ACL) { a.Resource = kafka.ResourceAny },
		func(a *kafka.ACL) { a.Resource = 8 },
		func(a *kafka.ACL) { a.Pattern = kafka.PatternMatch },
		func(a *kafka.ACL) { a.Operation = kafka.OperationAny },
		func(a *kafka.ACL) { a.Operation = 16 },
		func(a *kafka.ACL) { a.Operation = -1 },
		func(a *kafka.ACL) { a.Permission = kafka.PermissionAny },
		func(a *kafka.ACL) { a.Name = "" },
		func(a *kafka.ACL) { a.Principal = "alice" },
		func(a *kafka.ACL) { a.Principal = ":alice" },
		func(a *kafka.ACL) { a.Host = "" },
		func(a *kafka.ACL) { a.Resource = kafka.ResourceCluster },
	} {
		a := good
		spoil(&a)
		if err := a.Validate(); !errors.Is(err, kafkawire.ErrInvalidRequest) {
			t.Errorf("%d: %v: %v", i, a, err)
		}
	}
}

func ExampleACLSet() {
	var s kafka.ACLSet
	s.Add(kafka.ACL{Resource: kafka.ResourceTopic, Name: "team-", Pattern: kafka.PatternPrefixed, Principal: "User:alice", Host: "*",
		Operation: kafka.OperationRead, Permission: kafka.PermissionAllow})
	fmt.Println(s.Decide("User:alice", "192.0.2.1", kafka.OperationRead, kafka.ResourceTopic, "team-a") == kafka.Allowed)
	fmt.Println(s.Decide("User:alice", "192.0.2.1", kafka.OperationWrite, kafka.ResourceTopic, "team-a") == kafka.Allowed)
	for a := range s.All() {
		fmt.Println(a)
	}
	// Output:
	// true
	// false
	// ALLOW User:alice from *: READ on TOPIC PREFIXED "team-"
}
