package kafkaserver

// MemoryInUse returns how many bytes requests take now.
func (s *Server) MemoryInUse() int64 { return s.memory.used.Load() }
