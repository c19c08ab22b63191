package kafkabroker

import "sync"

type brokerConfigs struct {
	mu     sync.Mutex
	broker configSet
}

type configSet struct{}

func (configSet) int32(string) int32 { return 1 }

func (c *brokerConfigs) setTopic(name string, configs map[string]string) {}
func topicConfigKey(name string) string                                  { return "topic/" + name }
func encodeConfigs(map[string]string) []byte                             { return []byte{} }
func checkTopicConfigs(map[string]string) error                          { return nil }
func (b *Broker) loadConfigs() error                                     { return nil }
func (b *Broker) logConfigOf(topic string) *logConfig                    { return defaultLogConfig() }
