package mqttbroker_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/quartet-mq/quartet/mqtt/mqttbroker"
)

// Users with SCRAM from a file, which serves clients that send their password, too.
func ExampleSCRAM() {
	dir, err := os.MkdirTemp("", "broker")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	alice, err := mqttbroker.NewSCRAMCredential("SCRAM-SHA-256", "wonderland", 0)
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "users")
	os.WriteFile(path, []byte("alice:"+alice.Text()+"\n"), 0o600)

	users, err := mqttbroker.OpenSCRAMFile(path)
	if err != nil {
		log.Fatal(err)
	}
	b, err := mqttbroker.New(&mqttbroker.Options{
		Exchange:     mqttbroker.SCRAM(&mqttbroker.SCRAMOptions{Lookup: users.Lookup}),
		Authenticate: users.Authenticate,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	user, err := users.Authenticate(context.Background(), &mqttbroker.Login{
		Username: "alice", Password: []byte("wonderland"), HasUsername: true, HasPassword: true,
	})
	fmt.Println(user, err)
	// Output: alice <nil>
}

// A credential as PostgreSQL and others keep it.
func ExampleParseSCRAMCredential() {
	c, err := mqttbroker.ParseSCRAMCredential("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" +
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
	fmt.Println(c.Method, c.Iterations, len(c.Salt), err)
	// Output: SCRAM-SHA-256 4096 16 <nil>
}
