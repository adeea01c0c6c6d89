package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
)

// publishWithNetHTTP sends one request per line of standard input, see publishers.mjs.
func publishWithNetHTTP(string) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked struct {
			URL           string
			Headers       map[string]string
			Before, After string
			Fill          int
		}
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		status, err := postOnce(asked.URL, asked.Headers, asked.Before+strings.Repeat("x", asked.Fill)+asked.After)
		if err != nil {
			printError(err)
		} else {
			printLine(map[string]int{"status": status})
		}
	}
}

func postOnce(url string, headers map[string]string, body string) (int, error) {
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	// Only a body that was read leaves the connection to the next request.
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}
