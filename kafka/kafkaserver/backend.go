package kafkaserver

import (
	"context"
	"time"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// Backend decides who may connect, and serves the sessions of those who may. It is safe for concurrent use.
//
// A Backend may implement [SCRAM].
type Backend interface {
	// APIs says which requests the backend takes. It is called for each connection, and again for each APIVersions
	// request, and must not block. The server does not change what it returns, and the backend must not do so either.
	APIs() *APIs

	// Authenticate decides who a client is. It is called from the goroutine of the connection and may block; ctx ends with
	// the handshake timeout and with the server.
	//
	// Without SASL it is called once, with an empty mechanism, at the first request that a client may not make before. An
	// error closes the connection then. With SASL any error refuses the client with SASL_AUTHENTICATION_FAILED, and the
	// connection is closed. Errors are logged; the client does not learn what they say.
	Authenticate(ctx context.Context, c *Conn, a *Auth) (Login, error)

	// Connect is called when a client is authenticated, before its first request. It must not wait for another client. An
	// error closes the connection; it is logged.
	Connect(c *Conn) (Session, error)
}

// SCRAM is implemented by a [Backend] whose users may log in with SCRAM-SHA-256 and SCRAM-SHA-512.
type SCRAM interface {
	// Credential returns what is kept of a user's password for a mechanism. The zero Credential says that there is no such
	// user: the client does not learn that. It may block as Authenticate may. When the password was right, Authenticate
	// follows with the same mechanism and user.
	Credential(ctx context.Context, c *Conn, mechanism, user string) (Credential, error)
}

// Session serves one connection. The server calls its methods one at a time and holds no lock meanwhile. It calls them from
// the goroutine that reads the connection, but for large requests and those behind them, which it reads on beside.
type Session interface {
	// Handle answers a request with one of the methods of [Request] that do so, now or later, from any goroutine. It is
	// called in the order of the requests and must not wait for another connection: whoever waits stops the reader of this
	// one. Several requests of a connection may be in process together; the responses leave in the order of the requests.
	Handle(r *Request)

	// Closed is the last call. The connection is closed or about to be, and the answers to what is in process lead nowhere
	// but free memory: Request methods may still be called. cause is nil when the client closed the connection between two
	// requests, otherwise it says why; it wraps net.ErrClosed when the connection is lost.
	Closed(cause error)
}

// Drainer is implemented by a [Session] that has requests waiting for something to happen.
type Drainer interface {
	// Drain is called when the server shuts down, from the goroutine that reads the connection, after the last Handle. The
	// session should answer what waits soon. Closed follows.
	Drain()
}

// Streamer is implemented by a [Session] of whose connection each stream has a session of its own, see [StreamsProtocol]. The
// sessions of other backends serve all streams of their connections: Handle is still called one at a time, but in any order of
// the streams, and waits for one of them make the others wait.
type Streamer interface {
	// Stream returns the session of a further stream, for requests of which [Request].Stream is id. It is called before the
	// first of them, from the goroutine that reads the stream; sessions of different streams are used at the same time.
	// Their Closed comes before that of the connection's session, with a nil cause when the client ended the stream between
	// two requests. An error closes the connection; it is logged.
	Stream(id int64) (Session, error)
}

// Auth is what a client says about itself.
type Auth struct {
	// Mechanism is "PLAIN", "OAUTHBEARER", "SCRAM-SHA-256" or "SCRAM-SHA-512", or empty when the client does not use SASL.
	Mechanism string
	// User is the name of the user; with SCRAM one whose password was right. With OAUTHBEARER it is the authorisation
	// identity, mostly empty. Without SASL it is empty, or the user of a verified certificate, see [Options].
	User string
	// Password is that of PLAIN.
	Password string
	// Token is that of OAUTHBEARER.
	Token string
	// Extensions are those of OAUTHBEARER. The map may be kept.
	Extensions map[string]string
}

// Login is what a backend says about a client that it lets in.
type Login struct {
	// Principal is who the client is. The zero Principal becomes User and the name of Auth.User, or [Anonymous] where that
	// is empty.
	Principal Principal
	// Expires is when the client must have authenticated again (KIP-368), zero for never. Limits.MaxSession may make it
	// earlier. It holds with SASL only.
	Expires time.Time
}

// Principal is who a client is. Kafka's ACLs name it "Type:Name".
type Principal struct {
	Type string // "User" for all that this package authenticates
	Name string
}

// Anonymous is the principal of a client that did not say who it is.
var Anonymous = Principal{Type: "User", Name: "ANONYMOUS"}

// String returns the principal as ACLs name it, such as "User:alice".
func (p Principal) String() string { return p.Type + ":" + p.Name }

// APIs is what a backend takes.
type APIs struct {
	// Versions are the requests that the backend takes, in the order in which clients learn them. Those that the server
	// answers (APIVersions, SASLHandshake, SASLAuthenticate) are added and need not be there. A request that is not in the
	// list ends its connection.
	Versions []APIVersion
	// Features are what the version of a whole cluster turns on, such as "transaction.version".
	Features []Feature
	// Epoch is the version of the finalized features, to be raised with each change. Clients ignore lower ones.
	Epoch int64
	// ClusterID and NodeID are who the backend is: a client that says it expects another cluster or node (KIP-1242) gets
	// REBOOTSTRAP_REQUIRED. An empty ClusterID and a negative NodeID are not compared.
	ClusterID string
	NodeID    kafkawire.BrokerID
}

// APIVersion is a request with the versions in which a backend takes it.
type APIVersion struct {
	Key kafkawire.APIKey
	// Min and Max are the lowest and highest version that clients are told. Versions that package kafkawire lacks end the
	// connection even so: Kafka tells of version 0 of Produce, which it does not take, for the sake of old clients.
	Min, Max int16
}

// Feature is a feature of a cluster.
type Feature struct {
	Name string
	// Min and Max are the versions that the backend supports.
	Min, Max int16
	// Level is the version that is turned on, the finalized one; 0 for none.
	Level int16
}
