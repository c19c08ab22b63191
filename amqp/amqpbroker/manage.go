package amqpbroker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ManagementOptions are the options of a management API. The zero value is ready to use.
type ManagementOptions struct {
	// ClusterName is shown to tools, and may be changed by them with PUT /api/cluster-name. Empty is the name of the node.
	ClusterName string
	// NodeName is the name of the broker's node. Empty is quartet@ and the name of the host.
	NodeName string
	// Listeners returns where clients connect, for the overview and the health checks. Nil is nowhere.
	Listeners func() []ManagementListener
	// Tags returns the tags of a user whom [Options].Authenticate let in and who is not one of the broker's users. Nil gives
	// them none: they may not use the API.
	Tags func(user string) UserTags
	// MaxMessage is the size of the largest body that can be published, in bytes. Default 16 MiB, as with amqpserver.Limits.
	// Negative is no limit but that of a request, 256 MiB.
	MaxMessage int
	// Logger takes what fails inside; nil is silent.
	Logger *slog.Logger
}

// ManagementListener is a listener of a server, for tools.
type ManagementListener struct {
	Protocol string // "amqp", "amqp/ssl", "http" and so on
	Addr     net.Addr
}

// ManagementHandler returns the HTTP API of RabbitMQ's management plugin for the broker, with its paths, fields, codes and
// errors, so that RabbitMQ's tools can be used. All paths begin with /api; it does not serve the pages of the plugin.
//
// Clients log in as the broker's users, with HTTP's basic authentication, and may do what the tags of their user say, see
// [TagAdministrator]: nobody may do anything before there are users. Serve it with TLS, or for this machine only: passwords
// are in every request. Nil options are the zero value. The handler is safe for concurrent use.
func (b *Broker) ManagementHandler(o *ManagementOptions) http.Handler {
	if o == nil {
		o = &ManagementOptions{}
	}
	return newManagement(managedBroker{b, o.Tags}, o)
}

// management is the handler.
type management struct {
	b     managed
	opts  ManagementOptions
	node  string
	rates rates

	resources []resource

	cluster string
	cross   http.CrossOriginProtection
}

func newManagement(b managed, o *ManagementOptions) *management {
	m := &management{b: b, opts: *o, node: o.NodeName, resources: resources()}
	if m.node == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		m.node = "quartet@" + host
	}
	m.cluster = cmp.Or(o.ClusterName, m.node)
	if m.opts.Logger == nil {
		m.opts.Logger = slog.New(slog.DiscardHandler)
	}
	if m.opts.Listeners == nil {
		m.opts.Listeners = func() []ManagementListener { return nil }
	}
	return m
}

// resource is what is behind a path of the API. A path is in parts; one that begins with a colon is a variable.
type resource struct {
	path    string
	who     access
	methods map[string]func(*call) (any, error)
}

// access is who may use a resource at all.
type access uint8

const (
	accessAny     access = iota // every user who may use the API
	accessVhost                 // who may see the virtual host of the path
	accessMonitor               // monitoring or administrator
	accessPolicy                // policymaker or administrator, and the virtual host
	accessAdmin                 // administrator
	accessNobody                // needs no login
)

// statusResult is a result without a body.
type statusResult int

// reply is a result with a code or a header of its own.
type reply struct {
	status   int
	location string
	body     any
}

// created returns the result of a PUT.
func created(isNew bool) any {
	if isNew {
		return statusResult(http.StatusCreated)
	}
	return statusResult(http.StatusNoContent)
}

const deleted = statusResult(http.StatusNoContent)

// call is a request.
type call struct {
	m    *management
	r    *http.Request
	w    http.ResponseWriter
	user User
	vars map[string]string
}

// ServeHTTP implements [http.Handler].
func (m *management) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{m: m, r: r, w: w}
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "accept, accept-encoding, origin")
	result, err := c.serve()
	if err != nil {
		c.fail(err)
		return
	}
	switch v := result.(type) {
	case statusResult:
		w.WriteHeader(int(v))
	case reply:
		if v.location != "" {
			h.Set("Location", v.location)
		}
		if v.body == nil {
			w.WriteHeader(v.status)
			return
		}
		c.write(v.status, v.body)
	default:
		if v, err = c.shape(v); err != nil {
			c.fail(err)
			return
		}
		c.write(http.StatusOK, v)
	}
}

func (c *call) write(status int, body any) {
	b, err := plainJSON(body)
	if err != nil {
		c.m.opts.Logger.Error("management", "path", c.r.URL.Path, "error", err)
		c.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b) // the client has gone
}

// plainJSON encodes without the escapes that HTML needs.
func plainJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// serve finds and calls the resource.
func (c *call) serve() (any, error) {
	if err := c.m.cross.Check(c.r); err != nil {
		// A page of somebody else makes a browser that knows a password do something.
		return nil, &apiError{http.StatusForbidden, "forbidden", "cross-origin request"}
	}
	rest, ok := strings.CutPrefix(c.r.URL.EscapedPath(), "/api/")
	if !ok {
		return nil, errNotFound
	}
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	for i := range parts {
		part, err := url.PathUnescape(parts[i])
		if err != nil {
			return nil, badRequest("bad path")
		}
		parts[i] = part
	}
	var found *resource
	for i := range c.m.resources {
		res := &c.m.resources[i]
		if vars, ok := res.match(parts); ok {
			found, c.vars = res, vars
			break
		}
	}
	if found == nil || found.who != accessNobody {
		if err := c.login(); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, errNotFound
	}
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	do := found.methods[method]
	if do == nil {
		var allow []string
		for m := range found.methods {
			allow = append(allow, m)
		}
		slices.Sort(allow)
		c.w.Header().Set("Allow", strings.Join(allow, ", "))
		if method == http.MethodOptions {
			return statusResult(http.StatusOK), nil
		}
		return statusResult(http.StatusMethodNotAllowed), nil
	}
	if err := c.admit(found.who); err != nil {
		return nil, err
	}
	return do(c)
}

func (res *resource) match(parts []string) (map[string]string, bool) {
	var vars map[string]string
	path := res.path
	for i, part := range parts {
		want, rest, more := strings.Cut(path, "/")
		switch name, isVar := strings.CutPrefix(want, ":"); {
		case isVar:
			if vars == nil {
				vars = make(map[string]string)
			}
			vars[name] = part
		case want != part:
			return nil, false
		}
		if path = rest; more == (i == len(parts)-1) {
			return nil, false
		}
	}
	return vars, true
}

// login finds out who calls.
func (c *call) login() error {
	name, password, ok := c.r.BasicAuth()
	if !ok {
		return c.unauthorized("not_authorised", "Not_Authorized")
	}
	u, err := c.m.b.loginUser(c.r.Context(), name, password, c.addr())
	if err != nil {
		c.m.opts.Logger.Warn("management: login failed", "user", name, "addr", c.r.RemoteAddr, "error", err)
		return c.unauthorized("not_authorized", "Login failed")
	}
	for _, tag := range []string{TagAdministrator, TagMonitoring, TagPolicymaker, TagManagement} {
		if u.Tags.Has(tag) {
			c.user = u
			return nil
		}
	}
	return c.unauthorized("not_authorized", "Not management user")
}

func (c *call) unauthorized(code, reason string) error {
	c.w.Header().Set("WWW-Authenticate", `Basic realm="RabbitMQ Management"`)
	return &apiError{http.StatusUnauthorized, code, reason}
}

// addr is where the client is. That of a network without addresses in numbers is the server's.
func (c *call) addr() net.Addr {
	if ap, err := netip.ParseAddrPort(c.r.RemoteAddr); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	local, _ := c.r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if _, ok := local.(*net.TCPAddr); ok {
		return nil
	}
	return local
}

// admit checks that the user may use a resource.
func (c *call) admit(who access) error {
	tags := c.user.Tags
	admin := tags.Has(TagAdministrator)
	refuse := func(reason string) error { return &apiError{http.StatusUnauthorized, "not_authorised", reason} }
	switch who {
	case accessMonitor:
		if !admin && !tags.Has(TagMonitoring) {
			return refuse("Not monitor user")
		}
	case accessAdmin:
		if !admin {
			return refuse("Not administrator user")
		}
	case accessPolicy:
		if !admin && !tags.Has(TagPolicymaker) {
			return refuse("User not authorised to access object")
		}
	}
	vhost, inVhost := c.vars["vhost"]
	if !inVhost || who == accessAdmin {
		return nil
	}
	if !c.m.b.hasVhost(vhost) {
		if c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
			return errNotFound
		}
		return &apiError{http.StatusNotFound, "not_found", "vhost_not_found"}
	}
	if !c.sees(vhost) {
		return refuse("User not authorised to access virtual host")
	}
	return nil
}

// sees reports whether the user may see a virtual host.
func (c *call) sees(vhost string) bool {
	if c.monitors() {
		return true
	}
	rights, _ := c.m.b.settingsOf().effective(c.user.Name, vhost)
	return rights != nil
}

// monitors reports whether the user may see what others do.
func (c *call) monitors() bool {
	return c.user.Tags.Has(TagAdministrator) || c.user.Tags.Has(TagMonitoring)
}

// vhosts returns the virtual hosts that the path names, or all that the user may see.
func (c *call) vhosts() []string {
	if vhost, ok := c.vars["vhost"]; ok {
		return []string{vhost}
	}
	var out []string
	for _, name := range c.m.b.vhostNames() {
		if c.sees(name) {
			out = append(out, name)
		}
	}
	return out
}

// apiError is an error as the API says it.
type apiError struct {
	status int
	code   string
	reason any
}

// Error returns the code and the reason.
func (e *apiError) Error() string { return e.code + ": " + string(mustJSON(e.reason)) }

var errNotFound = &apiError{http.StatusNotFound, "Object Not Found", "Not Found"}

func badRequest(reason any) error { return &apiError{http.StatusBadRequest, "bad_request", reason} }

// fail answers with an error.
func (c *call) fail(err error) {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = apiErrorOf(err)
	}
	if e == nil {
		c.m.opts.Logger.Error("management", "path", c.r.URL.Path, "error", err)
		e = &apiError{http.StatusInternalServerError, "internal_error", "Internal Server Error"}
	}
	c.write(e.status, struct {
		Error  string `json:"error"`
		Reason any    `json:"reason"`
	}{e.code, e.reason})
}
