package mqttserver

// LargePayload is the size in bytes up to which the payload of a message is copied into the output of each connection.
// Longer ones are sent from where they are: see [Conn.Publish].
const LargePayload = 4 << 10
