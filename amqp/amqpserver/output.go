package amqpserver

// LargeBody is the size in bytes up to which the body of a message is copied into the output of each connection. Longer
// ones are sent from where they are.
const LargeBody = 4 << 10
