package topic_test

import (
	"fmt"
	"slices"

	"github.com/quartet-mq/quartet/topic"
)

func ExampleSyntax() {
	fmt.Println(topic.MQTT.Match("sport/+/#", "sport/tennis"))
	fmt.Println(topic.MQTT.Match("#", "$SYS/uptime"))
	fmt.Println(topic.AMQP.Match("#.error.*", "app.db.error.disk"))
	fmt.Println(topic.MQTT.ValidateFilter("sport/#/ranking"))
	// Output:
	// true
	// false
	// true
	// invalid topic filter: '#' is not the last level
}

func ExampleTranslate() {
	fmt.Println(topic.Translate("sensors/+/v1.2/#", topic.MQTT, topic.AMQP))
	fmt.Println(topic.Translate("sensors.*.v1/2.#", topic.AMQP, topic.MQTT))
	// Output:
	// sensors.*.v1/2.#
	// sensors/+/v1.2/#
}

func ExampleParseShared() {
	group, filter, shared, err := topic.ParseShared("$share/workers/jobs/+")
	fmt.Println(group, filter, shared, err)
	// Output: workers jobs/+ true <nil>
}

func ExampleTrie() {
	subs := topic.NewTrie[string](topic.MQTT)
	subs.Insert("sensors/+/temperature", "dashboard")
	subs.Insert("sensors/kitchen/temperature", "thermostat")
	subs.Insert("sensors/#", "archive")
	subs.Insert("doors/#", "alarm")

	for _, name := range slices.Sorted(subs.Match("sensors/kitchen/temperature")) {
		fmt.Println(name)
	}
	// Output:
	// archive
	// dashboard
	// thermostat
}

func ExampleNames() {
	retained := topic.NewNames[string](topic.MQTT)
	retained.Set("lamps/1/state", "on")
	retained.Set("lamps/2/state", "off")
	retained.Set("lamps/2/color", "red")

	var lines []string
	for name, value := range retained.Match("lamps/+/state") {
		lines = append(lines, name+" "+value)
	}
	slices.Sort(lines)
	fmt.Println(lines)
	// Output: [lamps/1/state on lamps/2/state off]
}
