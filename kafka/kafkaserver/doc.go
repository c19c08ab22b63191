// Package kafkaserver serves Kafka connections for a backend of one's own: it owns the connections, their authentication,
// the limits and the order of the responses, and hands requests to the backend. It knows nothing of topics or groups. Package
// kafkabroker is such a backend, with topics, groups, transactions and storage.
//
// # Backend and session
//
// A [Backend] says which requests it takes, decides who may connect, and returns a [Session]: its end of one connection. The
// server calls Session.Handle for each request, in their order, from the goroutine that reads the connection. The backend
// answers at once or later, from any goroutine: the server holds responses back until those before them have left. There is
// no goroutine for each request, and nobody waits for a slow client: one non-blocking write is tried, the rest goes to a
// transient goroutine.
//
// The body of a request is in pooled memory, which a backend may change in place until it answers. Responses may have
// records in them that stay where they are, see [Splice]: in memory, from where they leave with writev and are released when
// they are sent, or in a file, from where the kernel sends them.
//
// # Authentication
//
// The server answers APIVersions, SASLHandshake and SASLAuthenticate itself, also in the old form in which tokens travel
// without headers. It has PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER, and lets clients authenticate again on a
// connection (KIP-368). What a password, a token, a verified certificate or none of them is worth is up to
// [Backend].Authenticate.
//
// # Limits
//
// A client that sends more than may be in process, or that does not take its responses, is not read any more until that
// changes, see [Limits]. Memory for a request comes with its bytes, not with the size that the client announces, and what it
// takes decoded has a bound too. Requests that the protocol has no answer for end their connection, as in Apache Kafka: sizes
// and versions that are not supported, and all but authentication before it is complete.
//
// # Transports
//
// [Server.Serve] takes any net.Listener: TCP, Unix sockets, memory; with TLS and the PROXY protocol by [ListenerOptions].
package kafkaserver
