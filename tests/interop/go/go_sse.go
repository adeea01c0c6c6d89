package main

import (
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"
)

func followWithGoSSE(url string) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		panic(err)
	}
	client := sse.Client{OnRetry: func(failure error, _ time.Duration) { printError(failure) }}
	connection := client.NewConnection(request)
	if !asItComes {
		// Above limits.max_event_size of the node.
		connection.Buffer(nil, 1<<20)
	}
	connection.SubscribeToAll(func(event sse.Event) { printMessage(event.LastEventID, event.Type, event.Data) })
	printError(connection.Connect())
}
