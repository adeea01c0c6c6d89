package main

import (
	"log"
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"
)

func followWithGoSSE(url string) {
	printError(Subscribe(url, printMessage))
}

// Subscribe calls handle for each event, until the node refuses the stream.
func Subscribe(url string, handle func(id, channel, data string)) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := sse.Client{OnRetry: func(failure error, _ time.Duration) { log.Printf("reconnecting: %v", failure) }}
	connection := client.NewConnection(request)
	connection.Buffer(nil, longestLine)
	connection.SubscribeToAll(func(event sse.Event) { handle(event.LastEventID, event.Type, event.Data) })
	return connection.Connect()
}
