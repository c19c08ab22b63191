package kafkabroker

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/quartet-mq/quartet/internal/vfs"
	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// secured opens a broker with the super user admin and others, whose password is that of everybody.
func secured(t testing.TB, o *Options, others ...string) *Broker {
	t.Helper()
	o.ACLs = &ACLOptions{SuperUsers: []string{"User:admin"}}
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	for _, name := range append(others, "admin") {
		if err := b.SetUser(name, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// login connects as a user.
func login(t testing.TB, b *Broker, user string) *peer {
	t.Helper()
	p := connect(t, b)
	if code := p.plain(user, "secret"); code != noError {
		t.Fatal(user, code)
	}
	return p
}

// plain logs in with PLAIN.
func (p *peer) plain(user, password string) kafkawire.ErrorCode {
	p.t.Helper()
	ask[*kafkawire.SASLHandshakeResponse](p, &kafkawire.SASLHandshakeRequest{Mechanism: "PLAIN"}, 1)
	auth := []byte("\x00" + user + "\x00" + password)
	return ask[*kafkawire.SASLAuthenticateResponse](p, &kafkawire.SASLAuthenticateRequest{AuthBytes: auth}, 2).ErrorCode
}

// allow is an ACL that allows everything but what a test changes.
func allow(user string, op kafka.ACLOperation, t kafka.ResourceType, name string) kafka.ACL {
	return kafka.ACL{Resource: t, Name: name, Pattern: kafka.PatternLiteral, Principal: "User:" + user, Host: "*", Operation: op,
		Permission: kafka.PermissionAllow}
}

// creation is an ACL in a request.
func creation(a kafka.ACL) kafkawire.CreateACLsRequestCreation {
	return kafkawire.CreateACLsRequestCreation{ResourceType: int8(a.Resource), ResourceName: a.Name, ResourcePatternType: int8(a.Pattern),
		Principal: a.Principal, Host: a.Host, Operation: int8(a.Operation), PermissionType: int8(a.Permission)}
}

// createACLs creates ACLs and returns the error codes.
func (p *peer) createACLs(list ...kafka.ACL) (codes []kafkawire.ErrorCode) {
	p.t.Helper()
	var req kafkawire.CreateACLsRequest
	for _, a := range list {
		req.Creations = append(req.Creations, creation(a))
	}
	for _, r := range ask[*kafkawire.CreateACLsResponse](p, &req, 3).Results {
		codes = append(codes, r.ErrorCode)
	}
	return codes
}

// describeACLs returns the ACLs of a type.
func (p *peer) describeACLs(t kafka.ResourceType) *kafkawire.DescribeACLsResponse {
	p.t.Helper()
	return ask[*kafkawire.DescribeACLsResponse](p, &kafkawire.DescribeACLsRequest{ResourceTypeFilter: int8(t),
		PatternTypeFilter: int8(kafka.PatternAny), Operation: int8(kafka.OperationAny), PermissionType: int8(kafka.PermissionAny)}, 3)
}

// TestACLs makes, lists and deletes ACLs by the protocol, and restarts in between.
func TestACLs(t *testing.T) {
	fs := vfs.NewMem()
	b := secured(t, &Options{Dir: "d", fs: fs}, "alice")
	admin, alice := login(t, b, "admin"), login(t, b, "alice")
	list := []kafka.ACL{
		allow("alice", kafka.OperationRead, kafka.ResourceTopic, "a"),
		allow("alice", kafka.OperationWrite, kafka.ResourceTopic, "a"),
		{Resource: kafka.ResourceTopic, Name: "a", Pattern: kafka.PatternPrefixed, Principal: "User:*", Host: "192.0.2.1",
			Operation: kafka.OperationDescribe, Permission: kafka.PermissionDeny},
		allow("alice", kafka.OperationAll, kafka.ResourceGroup, "*"),
		allow("alice", kafka.OperationDescribe, kafka.ResourceCluster, kafka.ClusterName),
	}
	bad := list[0]
	bad.Principal = "alice"
	all := append(slices.Clone(list), bad, list[0])
	if got := admin.createACLs(all...); !slices.Equal(got, []kafkawire.ErrorCode{0, 0, 0, 0, 0, kafkawire.ErrInvalidRequest, 0}) {
		t.Error(got)
	}
	if got := alice.createACLs(list[0]); !slices.Equal(got, []kafkawire.ErrorCode{kafkawire.ErrClusterAuthorizationFailed}) {
		t.Error(got)
	}
	check := func(b *Broker) {
		t.Helper()
		if got := b.ACLs(kafka.AnyACL()); len(got) != len(list) {
			t.Errorf("%d ACLs", len(got))
		}
		for _, p := range []*peer{login(t, b, "admin"), login(t, b, "alice")} {
			r := p.describeACLs(kafka.ResourceTopic)
			if len(r.Resources) != 2 || len(r.Resources[0].ACLs) != 2 || r.Resources[1].PatternType != int8(kafka.PatternPrefixed) ||
				r.Resources[1].ACLs[0].Host != "192.0.2.1" {
				t.Errorf("%+v", r)
			}
		}
	}
	check(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := Open(&Options{Dir: "d", fs: fs, ACLs: &ACLOptions{SuperUsers: []string{"User:admin"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	check(b)

	admin, alice = login(t, b, "admin"), login(t, b, "alice")
	filter := kafkawire.DeleteACLsRequestFilter{ResourceTypeFilter: int8(kafka.ResourceAny), PatternTypeFilter: int8(kafka.PatternMatch),
		ResourceNameFilter: new("abc"), Operation: int8(kafka.OperationAny), PermissionType: int8(kafka.PermissionAny)}
	req := &kafkawire.DeleteACLsRequest{Filters: []kafkawire.DeleteACLsRequestFilter{filter, {}}}
	r := ask[*kafkawire.DeleteACLsResponse](alice, req, 2)
	if r.FilterResults[0].ErrorCode != kafkawire.ErrClusterAuthorizationFailed || len(r.FilterResults[0].MatchingACLs) != 0 {
		t.Errorf("%+v", r)
	}
	r = ask[*kafkawire.DeleteACLsResponse](admin, req, 3)
	if f := r.FilterResults; f[0].ErrorCode != 0 || len(f[0].MatchingACLs) != 2 || f[1].ErrorCode != kafkawire.ErrInvalidRequest {
		t.Errorf("%+v", r)
	}
	if gone, err := b.DeleteACLs(kafka.AnyACL()); err != nil || len(gone) != 3 {
		t.Error(gone, err)
	}
	if r := admin.describeACLs(kafka.ResourceAny); r.ErrorCode != 0 || len(r.Resources) != 0 {
		t.Errorf("%+v", r)
	}
	if r := admin.describeACLs(kafka.ResourceUnknown); r.ErrorCode != kafkawire.ErrInvalidRequest {
		t.Errorf("%+v", r)
	}
	if r := alice.describeACLs(kafka.ResourceAny); r.ErrorCode != kafkawire.ErrClusterAuthorizationFailed {
		t.Errorf("%+v", r)
	}
}

// TestACLsHold: what clients may do changes with the ACLs, at once and on connections that are there.
func TestACLsHold(t *testing.T) {
	b := secured(t, &Options{NoAutoCreate: true}, "alice")
	admin, alice := login(t, b, "admin"), login(t, b, "alice")
	admin.mustCreate("t", 1)
	produced := func() kafkawire.ErrorCode { return alice.produce("t", 0, batch("v")).ErrorCode }
	fetched := func() kafkawire.ErrorCode {
		return ask[*kafkawire.FetchResponse](alice, fetchOf("t", 0, 0), 12).Responses[0].Partitions[0].ErrorCode
	}
	add := func(list ...kafka.ACL) {
		t.Helper()
		if err := b.AddACLs(list...); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second answer is one that is remembered
		if produced() != kafkawire.ErrTopicAuthorizationFailed || fetched() != kafkawire.ErrTopicAuthorizationFailed {
			t.Error("alice may do what no ACL allows")
		}
	}
	add(allow("alice", kafka.OperationWrite, kafka.ResourceTopic, "t"))
	for range 2 {
		if produced() != noError || fetched() != kafkawire.ErrTopicAuthorizationFailed {
			t.Error(produced(), fetched())
		}
	}
	add(allow("alice", kafka.OperationRead, kafka.ResourceTopic, "*"))
	deny := allow("alice", kafka.OperationAll, kafka.ResourceTopic, "t")
	if fetched() != noError {
		t.Error(fetched())
	}
	deny.Permission = kafka.PermissionDeny
	add(deny)
	if produced() != kafkawire.ErrTopicAuthorizationFailed || fetched() != kafkawire.ErrTopicAuthorizationFailed {
		t.Error("alice may do what an ACL denies")
	}
	if _, err := b.DeleteACLs(kafka.AnyACL()); err != nil {
		t.Fatal(err)
	}
	if produced() != kafkawire.ErrTopicAuthorizationFailed {
		t.Error("alice may do what no ACL allows any more")
	}
	if admin.produce("t", 0, batch("v")).ErrorCode != noError {
		t.Error("the super user may not")
	}
}

// TestACLsAuthorized: the operations that a client is told, and those that follow from any topic.
func TestACLsAuthorized(t *testing.T) {
	b := secured(t, &Options{}, "alice")
	s := &session{b: b, node: b.nodes[0]}
	s.access.principal, s.access.host = "User:alice", "192.0.2.1"
	if err := b.AddACLs(allow("alice", kafka.OperationAlter, kafka.ResourceTopic, "t")); err != nil {
		t.Fatal(err)
	}
	if got := s.authorizedOperations(resourceTopic, "t"); got != 1<<opAlter|1<<opDescribe {
		t.Errorf("%b", got)
	}
	if s.authorizedOperations(resourceTopic, "u") != 0 || s.authorizedOperations(resourceCluster, clusterName) != 0 {
		t.Error("operations without an ACL")
	}
	if s.allowedAny(opWrite, resourceTopic) || !s.allowedAny(opAlter, resourceTopic) {
		t.Error("allowedAny")
	}
	s.access.super = true
	if s.authorizedOperations(resourceCluster, clusterName) != 1<<opCreate|1<<opClusterAction|1<<opDescribeConfigs|1<<opAlterConfigs|
		1<<opIdempotentWrite|1<<opAlter|1<<opDescribe {
		t.Error("a super user")
	}
	// A session does not remember without bound.
	s.access.super = false
	for i := range 5 * maxDecisions {
		s.allowed(opRead, resourceTopic, strings.Repeat("x", i%200)+string(rune(i)))
	}
	if len(s.access.decisions) > maxDecisions {
		t.Errorf("%d decisions are kept", len(s.access.decisions))
	}
}

// TestACLsEveryone is allow.everyone.if.no.acl.found.
func TestACLsEveryone(t *testing.T) {
	b := openBroker(t, &Options{ACLs: &ACLOptions{AllowEveryone: true}})
	p := connect(t, b)
	p.mustCreate("t", 1)
	if err := b.AddACLs(allow("alice", kafka.OperationRead, kafka.ResourceTopic, "t")); err != nil {
		t.Fatal(err)
	}
	if p.produce("t", 0, batch("v")).ErrorCode != kafkawire.ErrTopicAuthorizationFailed {
		t.Error("an ACL is about the topic, but everybody may write to it")
	}
	p.mustCreate("u", 1)
}

// TestACLsOff: without ACLs everybody may do everything, but for changing them.
func TestACLsOff(t *testing.T) {
	b := openBroker(t, nil)
	p := connect(t, b)
	if got := p.createACLs(allow("a", kafka.OperationAll, kafka.ResourceTopic, "t")); got[0] != kafkawire.ErrSecurityDisabled {
		t.Error(got)
	}
	if r := p.describeACLs(kafka.ResourceAny); r.ErrorCode != kafkawire.ErrSecurityDisabled {
		t.Error(r.ErrorCode)
	}
	p.mustCreate("t", 1)
}

// TestACLBounds: there are not more ACLs than the bound, and bad ones are errors.
func TestACLBounds(t *testing.T) {
	b := secured(t, &Options{})
	list := make([]kafka.ACL, maxACLs+1)
	for i := range list {
		list[i] = allow("alice", kafka.OperationRead, kafka.ResourceTopic, string(rune('a'+i%26))+strings.Repeat("b", i/26%200)+string(rune(i)))
	}
	slices.SortFunc(list, compareACLs)
	list = slices.Compact(list)
	if err := b.AddACLs(list[:1000]...); err != nil {
		t.Fatal(err)
	}
	if err := b.AddACLs(kafka.ACL{}); !errors.Is(err, kafkawire.ErrInvalidRequest) {
		t.Error(err)
	}
	b.acls.mu.Lock()
	for _, a := range list {
		b.acls.set.Add(a)
	}
	for i := 0; b.acls.set.Len() < maxACLs; i++ {
		b.acls.set.Add(allow("bob", kafka.OperationRead, kafka.ResourceTopic, string(rune(i))))
	}
	b.acls.mu.Unlock()
	if err := b.AddACLs(allow("bob", kafka.OperationRead, kafka.ResourceGroup, "one too many")); !errors.Is(err, kafkawire.ErrPolicyViolation) {
		t.Error(err)
	}
}

// TestACLHosts: an ACL may have the address of a host in the form that Java gives it.
func TestACLHosts(t *testing.T) {
	b := secured(t, &Options{})
	deny := allow("*", kafka.OperationAll, kafka.ResourceTopic, "*")
	deny.Permission, deny.Host = kafka.PermissionDeny, "2001:DB8:0:0:0:0:0:66"
	if err := b.AddACLs(allow("alice", kafka.OperationRead, kafka.ResourceTopic, "t"), deny); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"2001:db8::66": false, "2001:db8::67": true, "192.0.2.1": true} {
		if got := b.acls.decide("User:alice", host, kafka.OperationRead, kafka.ResourceTopic, "t"); got != want {
			t.Error(host, got)
		}
	}
	f := kafka.AnyACL()
	f.Host = &deny.Host
	if gone, err := b.DeleteACLs(f); err != nil || len(gone) != 1 || gone[0].Host != "2001:db8::66" {
		t.Error(gone, err)
	}
}

// TestStoredHosts: an ACL that is stored with a long IPv6 address holds, and can be deleted for good.
func TestStoredHosts(t *testing.T) {
	fs := vfs.NewMem()
	b := secured(t, &Options{Dir: "d", fs: fs})
	stored := allow("alice", kafka.OperationRead, kafka.ResourceTopic, "a")
	var changes []metaChange
	for _, stored.Host = range []string{"2001:db8:0:0:0:0:0:1", "2001:DB8::1"} {
		changes = append(changes, metaChange{metaACL, encodeACL(stored), []byte{}})
	}
	if err := b.setMeta(changes...); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = secured(t, &Options{Dir: "d", fs: fs})
		if got := b.acls.decide("User:alice", "2001:db8::1", opRead, resourceTopic, "a"); got != (want == 1) {
			t.Error(want, got)
		}
		if gone, err := b.DeleteACLs(kafka.AnyACL()); len(gone) != want || err != nil {
			t.Error(gone, err)
		}
	}
}

// TestManyFilters: filters that ask for one ACL cost no look at the others, and filters that ask for more are refused once they
// have cost too much. What they have found until then is deleted.
func TestManyFilters(t *testing.T) {
	b := secured(t, &Options{})
	admin := login(t, b, "admin")
	var list []kafka.ACL
	for i := range 2000 {
		list = append(list, allow("alice", kafka.OperationRead, kafka.ResourceTopic, strconv.Itoa(i)))
	}
	if err := b.AddACLs(list...); err != nil {
		t.Fatal(err)
	}
	const n = 60_000
	var req kafkawire.DeleteACLsRequest
	ask := func(change func(q *kafkawire.DeleteACLsRequestFilter)) []kafkawire.DeleteACLsResponseFilterResult {
		req.Filters = nil
		for range n {
			a := &list[1]
			q := kafkawire.DeleteACLsRequestFilter{ResourceTypeFilter: int8(a.Resource), ResourceNameFilter: &a.Name,
				PatternTypeFilter: int8(a.Pattern), PrincipalFilter: &a.Principal, HostFilter: &a.Host, Operation: int8(a.Operation),
				PermissionType: int8(a.Permission)}
			change(&q)
			req.Filters = append(req.Filters, q)
		}
		return ask[*kafkawire.DeleteACLsResponse](admin, &req, 3).FilterResults
	}
	r := ask(func(*kafkawire.DeleteACLsRequestFilter) {})
	if len(r[0].MatchingACLs) != 1 || len(r[n-1].MatchingACLs) != 0 || r[n-1].ErrorCode != noError {
		t.Errorf("%+v", r[n-1])
	}
	r = ask(func(q *kafkawire.DeleteACLsRequestFilter) {
		q.ResourceNameFilter, q.PatternTypeFilter = &list[2].Name, int8(kafka.PatternMatch)
	})
	if len(r[0].MatchingACLs) != 1 || r[n/10].ErrorCode != noError || r[n-1].ErrorCode != kafkawire.ErrInvalidRequest {
		t.Errorf("%+v", r[n-1])
	}
	if got := len(b.ACLs(kafka.AnyACL())); got != 1998 {
		t.Errorf("%d ACLs are left", got)
	}
}
