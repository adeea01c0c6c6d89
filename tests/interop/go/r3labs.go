package main

import "github.com/r3labs/sse/v2"

// followWithR3labs shows why docs/guide/clients/index.md advises against r3labs/sse.
func followWithR3labs(url string) {
	client := sse.NewClient(url)
	printError(client.SubscribeRaw(func(event *sse.Event) {
		printMessage(string(event.ID), string(event.Event), string(event.Data))
	}))
}
