// Clients and a publisher in Go, selected by name: interop launchdarkly URL.
//
// AS_IT_COMES=1 leaves out the settings that docs/guide/clients/index.md recommends.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

var asItComes = os.Getenv("AS_IT_COMES") != ""

func main() {
	programs := map[string]func(url string){
		"publish":      publishWithNetHTTP,
		"go-sse":       followWithGoSSE,
		"launchdarkly": followWithLaunchDarkly,
		"net-http":     followWithNetHTTP,
		"r3labs":       followWithR3labs,
	}
	url := ""
	if len(os.Args) > 2 {
		url = os.Args[2]
	}
	programs[os.Args[1]](url)
}

// printMessage prints a message that a client delivered.
func printMessage(id, channel, data string) {
	printLine(map[string]string{"id": id, "channel": channel, "data": data})
}

// printError prints a failure that a client reported.
func printError(failure error) {
	printLine(map[string]string{"error": failure.Error()})
}

func printLine(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}
