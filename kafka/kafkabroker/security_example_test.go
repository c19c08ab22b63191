package kafkabroker_test

import (
	"fmt"

	"github.com/quartet-mq/quartet/kafka"
	"github.com/quartet-mq/quartet/kafka/kafkabroker"
	"github.com/quartet-mq/quartet/kafka/kafkaserver"
)

// This example is a broker with two users: admin may do everything, alice may read and write the topics whose names begin with
// "alice-", and be in groups whose names do.
func ExampleBroker_SetUser() {
	b, err := kafkabroker.Open(&kafkabroker.Options{ACLs: &kafkabroker.ACLOptions{SuperUsers: []string{"User:admin"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	for _, name := range []string{"admin", "alice"} {
		if err := b.SetUser(name, "secret of "+name); err != nil {
			fmt.Println(err)
		}
	}
	acl := kafka.ACL{Resource: kafka.ResourceTopic, Name: "alice-", Pattern: kafka.PatternPrefixed, Principal: "User:alice", Host: "*",
		Operation: kafka.OperationAll, Permission: kafka.PermissionAllow}
	group := acl
	group.Resource = kafka.ResourceGroup
	if err := b.AddACLs(acl, group); err != nil {
		fmt.Println(err)
	}
	fmt.Println(b.Users())
	for _, a := range b.ACLs(kafka.AnyACL()) {
		fmt.Println(a)
	}

	// The clients log in with SCRAM, or with PLAIN where the connection is encrypted:
	//	s.ListenAndServe("192.0.2.1:9092", nil)
	s := kafkaserver.New(b, &kafkaserver.Options{Mechanisms: []string{"SCRAM-SHA-256", "SCRAM-SHA-512"}, RequireSASL: true})
	defer s.Close()

	// Output:
	// [admin alice]
	// ALLOW User:alice from *: ALL on TOPIC PREFIXED "alice-"
	// ALLOW User:alice from *: ALL on GROUP PREFIXED "alice-"
}
