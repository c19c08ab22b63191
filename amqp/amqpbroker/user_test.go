package amqpbroker

import (
	"encoding/json"
	"net"
	"slices"
	"testing"
)

func testRegistry(t testing.TB, settings ...func() (setting, error)) *registry {
	t.Helper()
	r := newRegistry([]string{"guest"})
	for _, f := range settings {
		s, err := f()
		if err != nil {
			t.Fatal(err)
		}
		// As the journal does it.
		back, err := decodeSetting(s.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.apply(back); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func withUser(u User) func() (setting, error) {
	return func() (setting, error) { return userSetting(u) }
}

func withPermission(p Permission) func() (setting, error) {
	return func() (setting, error) { return permissionSetting(p) }
}

func TestUserLogin(t *testing.T) {
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	remote := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	r := testRegistry(t,
		withUser(User{Name: "guest", PasswordHash: HashPassword("guest")}),
		withUser(User{Name: "a", PasswordHash: hashWith(HashingSHA512, "secret"), HashingAlgorithm: HashingSHA512}),
		withUser(User{Name: "old", PasswordHash: hashWith(HashingMD5, "old"), HashingAlgorithm: HashingMD5}),
		withUser(User{Name: "cert"}),
		// Made by RabbitMQ 3.10 for the password "p".
		withUser(User{Name: "rabbit", PasswordHash: "p5wSzMXU+BWReKyw+D9EzA5xTuGzGqxepBzqT3vEwW5w7Vhx"}),
	)
	for _, c := range []struct {
		user, password string
		addr           net.Addr
		ok             bool
	}{
		{"guest", "guest", local, true},
		{"guest", "guest", &net.TCPAddr{IP: net.IPv6loopback}, true},
		{"guest", "guest", &net.UDPAddr{IP: net.IPv6loopback}, true},
		{"guest", "guest", &net.UnixAddr{Net: "unix"}, true},
		{"guest", "guest", remote, false},
		{"guest", "guest", &net.TCPAddr{}, false},
		{"guest", "guest", nil, false},
		{"guest", "wrong", local, false},
		{"guest", "", local, false},
		{"a", "secret", remote, true},
		{"a", "secret ", remote, false},
		{"old", "old", remote, true},
		{"cert", "", remote, false},
		{"cert", "x", remote, false},
		{"nobody", "x", remote, false},
		{"", "", remote, false},
		{"rabbit", "p", remote, true},
		{"rabbit", "q", remote, false},
	} {
		if err := r.login(c.user, c.password, c.addr); (err == nil) != c.ok {
			t.Errorf("%s %s from %v: %v", c.user, c.password, c.addr, err)
		}
	}
	if r.known("cert", remote) != nil || r.known("nobody", local) == nil || r.known("guest", remote) == nil || r.known("guest", local) != nil {
		t.Error("known")
	}
	if newRegistry(nil).login("guest", "guest", local) == nil {
		t.Error("an empty registry lets somebody in")
	}
}

func TestUserInvalid(t *testing.T) {
	for _, u := range []User{
		{},
		{Name: "a", PasswordHash: "!"},
		{Name: "a", PasswordHash: "AAAA"},
		{Name: "a", PasswordHash: hashWith(HashingSHA512, "x")},
		{Name: "a", HashingAlgorithm: "rot13"},
		{Name: "a", Limits: map[string]int64{"max-queues": 1}},
	} {
		if _, err := userSetting(u); err == nil {
			t.Errorf("%+v is accepted", u)
		}
	}
}

func TestUserTags(t *testing.T) {
	for text, want := range map[string][]string{
		`"administrator"`: {"administrator"}, `"a, b ,,a"`: {"a", "b"}, `["a","b"]`: {"a", "b"}, `""`: {}, `[]`: {}, `null`: {},
	} {
		var tags UserTags
		if err := json.Unmarshal([]byte(text), &tags); err != nil || !slices.Equal(tags, want) {
			t.Errorf("%s: %v %v", text, tags, err)
		}
	}
	var tags UserTags
	if json.Unmarshal([]byte(`1`), &tags) == nil {
		t.Error("a number is accepted")
	}
}

func TestUserMayClaim(t *testing.T) {
	r := testRegistry(t, withUser(User{Name: "a"}), withUser(User{Name: "i", Tags: UserTags{TagImpersonator}}))
	if r.mayClaim("a", []byte("a")) != nil || r.mayClaim("i", []byte("a")) != nil {
		t.Error("refused")
	}
	err := r.mayClaim("a", []byte("b"))
	if want := "406 PRECONDITION_FAILED - user_id property set to 'b' but authenticated user was 'a'"; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestUserLimits(t *testing.T) {
	r := testRegistry(t,
		withUser(User{Name: "u", Limits: map[string]int64{limitConnections: 1, limitChannels: 2}}),
		withUser(User{Name: "free", Limits: map[string]int64{limitConnections: -1}}),
		func() (setting, error) {
			return vhostLimitsSetting("v", map[string]int64{limitConnections: 0, limitQueues: 3})
		})
	check := func(err error, want string) {
		t.Helper()
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	check(r.checkConnections("u", "/", 0, 9), "")
	check(r.checkConnections("free", "/", 9, 9), "")
	check(r.checkConnections("u", "/", 1, 0), "530 NOT_ALLOWED - connection refused for user 'u': user connection limit (1) is reached")
	check(r.checkConnections("x", "v", 0, 0), "530 NOT_ALLOWED - access to vhost 'v' refused for user 'x': connection limit (0) is reached")
	check(r.checkChannels("u", 1), "")
	check(r.checkChannels("u", 2), "530 NOT_ALLOWED - number of channels opened for user 'u' has reached the maximum allowed user limit of (2)")
	check(r.checkQueues("v", "q", 2), "")
	check(r.checkQueues("v", "q", 3), "406 PRECONDITION_FAILED - cannot declare queue 'q': queue limit in vhost 'v' (3) is reached")
	check(r.checkQueues("w", "q", 3), "")
	if _, err := vhostLimitsSetting("v", map[string]int64{"max-foo": 1}); err == nil {
		t.Error("max-foo is accepted")
	}
	none, err := vhostLimitsSetting("v", nil)
	if err != nil || r.apply(none) != nil {
		t.Fatal(err)
	}
	check(r.checkQueues("v", "q", 3), "")
}
