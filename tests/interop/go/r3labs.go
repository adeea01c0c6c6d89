package main

import "github.com/r3labs/sse/v2"

// followWithR3labs is here to show why docs/clients.md advises against it.
func followWithR3labs(url string) {
	client := sse.NewClient(url)
	printError(client.SubscribeRaw(func(event *sse.Event) {
		printMessage(string(event.ID), string(event.Event), string(event.Data))
	}))
}
