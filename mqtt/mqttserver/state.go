package mqttserver

// ViewState calls f while nothing changes the State that the backend gave to the connection, so that f may read it. f must
// not change it and must not call the Conn. A [Persister] needs it to write down a whole State now and then: changes for
// which Persist was not called yet may be in it already, and replaying them once more does no harm.
func (c *Conn) ViewState(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
