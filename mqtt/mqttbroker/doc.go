// Package mqttbroker is an MQTT broker for 3.1, 3.1.1 and 5.0: routing, sessions, retained messages, wills, shared
// subscriptions, authentication and access control. A [Broker] is a backend of package mqttserver, which owns the
// connections, and has verbs for the application that it lives in: publish, subscribe, look at and end sessions.
//
//	b, err := mqttbroker.New(&mqttbroker.Options{Authenticate: mqttbroker.AllowAll})
//	server := mqttserver.New(b, nil)
//	err = server.Serve(listener, nil)
//
// The zero Options let nobody in.
//
// # Who may do what
//
// An [Authenticator] decides who may connect and gives the client its user name: [AllowAll], a [PasswordFile], a
// client certificate ([CertificateName], [CertificateAltName]), a function of one's own, or a [Chain] of them. An
// [Authorizer], such as an [ACLFile], says what the client may publish, subscribe to and receive. Both files may be read
// again while the broker runs; [Broker.Reauthorize] applies new permissions to those who are connected.
//
// A client never gets a message whose topic it may not receive. Where its permissions cover a whole subscription nothing
// is asked at delivery, otherwise each topic is.
//
// # Order
//
// The messages of a publisher reach each subscriber of one QoS in the order in which they came, those that wait for a
// client included. All receivers see the retained messages of one topic in the same order, that in which they replaced
// each other. A retained message is never sent to a new subscriber after the one that replaced it, nor after another
// newer message of its topic, but for one that comes by a shared subscription.
//
// # What waits
//
// Messages of QoS 1 and 2 wait for clients that are away or behind, in order, within [Options].QueueMessages and
// QueueBytes; the [QueuePolicy] says what happens beyond. They keep their expiry interval and have no other. Messages of
// QoS 0 are dropped and counted when a client is away (unless QueueQoS0 is set) or too slow. Retained messages are sent
// as fast as the client takes them, however many they are.
//
// # Shared subscriptions
//
// A message goes to one member of the group, which [Options].Strategy chooses among those that are connected; it waits
// for one that is away only when no other is there. When a member unsubscribes, what waits for it goes to another member
// and what it has in flight is completed. When its session ends, what waits and what is in flight at QoS 1 goes to
// another member; what is in flight at QoS 2 goes to nobody [MQTT-4.8.2-5]. A message that a member refused goes to
// nobody [MQTT-4.8.2-6].
//
// # Data streams
//
// A client of MQTT over QUIC may subscribe on several streams of its connection; messages come on the stream of the
// subscription. By default such a subscription, what waits for it and what is in flight belong to the stream and end with
// it: the session has only what was subscribed on stream 0, and neither the journal nor the next connection knows of the
// rest. Each stream has a queue of its own within the bounds of the session's. If the client asked for the state to be kept,
// subscriptions and messages go on on stream 0 when a stream ends; sessions in the journal have one queue for all streams then.
//
// # Durability
//
// Without [Options].Dir a broker keeps its state in memory. With it, sessions that outlive their connection, what waits
// for them and what is in flight, retained messages and wills survive the end of the process and power loss. The broker
// answers nobody before the disk has it: publishers, the steps of QoS 2, SUBACK, UNSUBACK and CONNACK wait. What was
// accepted is delivered, at QoS 2 exactly once, whatever happens in between. After a crash the clients that were connected
// are away since the start of the next broker; their wills are published when their delay has passed.
//
// Messages for sessions that end with their connection are not written down: they would not be there any more.
//
// Messages that wait for a client that is away take a few bytes of memory each at most, the rest is read when the client
// comes. So do retained messages beyond [Options].RetainedMemory.
//
// When the disk runs full publishers are slowed, then refused (see [Options].DiskReserve); what was accepted is safe, and
// the broker goes on when there is room again. When the disk fails, publishers whose messages may be lost are cut off
// without an answer, and no promise is made any more. [Broker.Backup] copies the directory while the broker runs.
package mqttbroker
