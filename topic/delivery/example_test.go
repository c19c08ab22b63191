package delivery_test

import (
	"fmt"

	"github.com/quartet-mq/quartet/topic/delivery"
)

func ExampleWindow() {
	var w delivery.Window[string]
	for _, message := range []string{"a", "b", "c", "d"} {
		w.Add(message)
	}
	w.Settle(1) // out of order: leaves a hole
	for seq, message := range w.SettleThrough(2) {
		fmt.Println("settled", seq, message)
	}
	for seq, message := range w.Unsettled() {
		fmt.Println("unsettled", seq, *message)
	}
	fmt.Println("low", w.Low(), "next", w.Next())
	// Output:
	// settled 0 a
	// settled 2 c
	// unsettled 3 d
	// low 3 next 4
}

func ExampleCredit() {
	var c delivery.Credit
	c.Set(2) // receive maximum
	fmt.Println(c.Take(), c.Take(), c.Take())
	c.Grant(1) // one was acknowledged
	fmt.Println(c.Available())
	// Output:
	// true true false
	// 1
}

func ExampleIDs() {
	var received delivery.IDs
	fmt.Println(received.Add(7), received.Add(7)) // the second is a duplicate
	fmt.Println(received.Remove(7), received.Len())
	// Output:
	// true false
	// true 0
}

func ExampleProducer() {
	var p delivery.Producer
	p.Accept(0, 0, 9, 5000)
	for _, first := range []int32{0, 10, 20} {
		verdict, position := p.Check(0, first, first+9)
		fmt.Println(first, verdict, position)
	}
	// Output:
	// 0 duplicate 5000
	// 10 new 0
	// 20 out of order 0
}

func ExampleWatermark() {
	var done delivery.Watermark
	for _, seq := range []uint64{1, 2, 0} {
		fmt.Println(done.Done(seq), done.Low())
	}
	// Output:
	// false 0
	// false 0
	// true 3
}

func ExampleOutcome() {
	fmt.Println(delivery.Accepted, delivery.Released)
	// Output: accepted released
}
