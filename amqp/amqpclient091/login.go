package amqpclient091

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/quartet-mq/quartet/internal/sasl"
)

// guest is the user, and the password, of a server that nobody has configured.
const guest = "guest"

// knownMechanism reports whether the client has a SASL mechanism.
func knownMechanism(name string) bool {
	switch name {
	case sasl.Plain, sasl.AMQPlain, sasl.External, sasl.Anonymous:
		return true
	}
	return false
}

// login returns the mechanism for a server that offers some, and the client's side of it.
func (c *config) login(ctx context.Context, s *server, offered string) (mechanism string, side sasl.Client, err error) {
	mechanism, err = c.mechanism(s, offered)
	if err != nil {
		return "", nil, err
	}
	switch mechanism {
	case sasl.External:
		return mechanism, sasl.ExternalClient(""), nil
	case sasl.Anonymous:
		return mechanism, sasl.AnonymousClient(""), nil
	}
	user, password, err := c.credentials(ctx, s)
	if err != nil {
		return "", nil, fmt.Errorf("amqpclient091: credentials: %w", err)
	}
	if mechanism == sasl.AMQPlain {
		return mechanism, sasl.AMQPlainClient(user, password), nil
	}
	return mechanism, sasl.PlainClient(user, password), nil
}

// mechanism chooses the mechanism.
func (c *config) mechanism(s *server, offered string) (string, error) {
	known := strings.Fields(offered)
	mine := c.Mechanisms
	if len(mine) == 0 {
		mine = s.uri.Mechanisms
	}
	if len(mine) == 0 {
		mine = []string{sasl.Plain, sasl.AMQPlain}
	}
	for _, m := range mine {
		if slices.Contains(known, m) {
			return m, nil
		}
	}
	return "", &MechanismError{Wanted: mine, Offered: known}
}

func (c *config) credentials(ctx context.Context, s *server) (user, password string, err error) {
	switch {
	case c.Credentials != nil:
		return c.Credentials(ctx, cloneURL(s.url))
	case c.Username != "" || c.Password != "":
		return c.Username, c.Password, nil
	}
	user, password = guest, guest
	if s.uri.Username != nil {
		user = *s.uri.Username
	}
	if s.uri.Password != nil {
		password = *s.uri.Password
	}
	return user, password, nil
}

func cloneURL(u *url.URL) *url.URL {
	v := *u
	return &v
}
