package quicnet

// Trace observes connections. Nil functions are not called.
type Trace struct{}
