// Package mqtt is the pure root of Quartet's MQTT support: the packets of MQTT 3.1, 3.1.1 and 5.0, their codec, and
// the session state machine for both roles. It performs no I/O, starts no goroutine, takes no lock and reads no clock;
// everything that depends on time takes it as an argument.
//
// Packets are plain structs. [Append] encodes any of them after a byte slice, [Decoder] decodes them from one without
// allocating for the packets of a message flow. The protocol version is an argument of both, not a part of the packet.
// Version 5 properties stay in their wire form, see [Properties].
//
// The codec is strict in both directions. Where the standard leaves room it decides so: control characters and
// non-characters are allowed in strings; a packet identifier of zero and an empty list of filters or reasons are
// protocol errors; a property that is unknown or not of that packet is malformed (section 2.2.2.2), one that comes
// twice or has a value that is not allowed is a protocol error; a reason code that is not of that packet is a protocol
// error. MQTT 3.1 is held to the rules of 3.1.1 but for what its clients are known to do: they may set the DUP flag of
// SUBSCRIBE, UNSUBSCRIBE and PUBREL, and announce a user name or password that does not come. Client identifiers of
// more than 23 bytes are for the server to refuse.
//
// [Session] is the state machine of one connection and the session it serves. Packages mqttclient and mqttserver put
// connections, goroutines and timers around it.
//
// Section numbers and statements such as [MQTT-3.3.1-4] in comments refer to the OASIS standard MQTT Version 5.0;
// statements of MQTT Version 3.1.1 are written [MQTT311-3.3.1-4].
package mqtt
