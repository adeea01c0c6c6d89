package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

// Publish sends one event and returns its id. It retries with the same key, so that the event is stored once.
func Publish(url, token, channel string, payload any) (string, error) {
	body, err := json.Marshal(map[string]any{"channel": channel, "payload": payload})
	if err != nil {
		return "", err
	}
	key := rand.Text()
	for attempt := 1; ; attempt++ {
		id, isFinal, err := post(url, token, key, body)
		if err == nil || isFinal || attempt == 5 {
			return id, err
		}
		time.Sleep(time.Duration(attempt) * 200 * time.Millisecond)
	}
}

var client = http.Client{Timeout: 10 * time.Second}

func post(url, token, key string, body []byte) (id string, isFinal bool, err error) {
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return "", true, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Idempotency-Key", key)
	answer, err := client.Do(request)
	if err != nil {
		return "", false, err
	}
	defer answer.Body.Close()
	var reply struct{ ID, Detail string }
	if err := json.NewDecoder(answer.Body).Decode(&reply); err != nil {
		return "", false, err
	}
	if answer.StatusCode != http.StatusAccepted {
		isFinal = answer.StatusCode < 500 && answer.StatusCode != http.StatusTooManyRequests
		return "", isFinal, fmt.Errorf("%s: %s", answer.Status, reply.Detail)
	}
	return reply.ID, true, nil
}

// publishSample publishes what samples.mjs expects.
func publishSample(url string) {
	for _, name := range []string{"Luke", "Leia"} {
		id, err := Publish(url, os.Getenv("TOKEN"), "names", map[string]string{"name": name})
		if err != nil {
			printError(err)
			return
		}
		printLine(map[string]string{"id": id})
	}
}
