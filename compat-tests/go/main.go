// Command compat-client drives the official Go client over standard input: one command a line,
// NAME key=value ...; one result a line, "@" and a JSON object, on standard output.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const (
	sendTimeout    = 20 * time.Second
	asyncInFlight  = 32
	selectorQueues = 4
)

type options map[string]string

type sent struct {
	Index  int    `json:"i"`
	Queue  int    `json:"q"`
	Offset int64  `json:"o"`
	ID     string `json:"id"`
}

type received struct {
	Queue     int    `json:"q"`
	Offset    int64  `json:"o"`
	ID        string `json:"id"`
	Body      string `json:"b"`
	Tags      string `json:"t"`
	Keys      string `json:"k"`
	Reconsume int32  `json:"r"`
	Index     string `json:"x"`
}

// pushConsumer is a running consumer and everything it was given so far.
type pushConsumer struct {
	rocketmq.PushConsumer
	mutex    sync.Mutex
	received []received
}

var (
	producers = map[string]rocketmq.Producer{}
	consumers = map[string]*pushConsumer{}
)

func main() {
	// Libraries print to standard output as well: results get their own descriptor.
	out := os.Stdout
	os.Stdout = os.Stderr
	rlog.SetLogLevel("warn")
	if len(os.Args) == 4 && os.Args[1] == "catalogue" {
		runCatalogue(os.Args[2], os.Args[3])
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Split(strings.TrimSpace(lines.Text()), " ")
		given := options{}
		for _, word := range words[1:] {
			if at := strings.IndexByte(word, '='); at > 0 {
				given[word[:at]] = word[at+1:]
			}
		}
		result, err := run(words[0], given)
		if err != nil {
			result = map[string]string{"error": err.Error()}
		}
		text, err := json.Marshal(result)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(out, "@%s\n", text)
	}
}

func run(command string, given options) (interface{}, error) {
	switch command {
	case "send":
		return send(given)
	case "transact":
		return transact(given)
	case "consume":
		return struct{}{}, consume(given)
	}
	running, ok := consumers[given["id"]]
	if !ok {
		return nil, fmt.Errorf("unknown command %q or consumer %q", command, given["id"])
	}
	running.mutex.Lock()
	defer running.mutex.Unlock()
	switch command {
	case "count":
		return map[string]int{"count": len(running.received)}, nil
	case "received":
		return map[string]interface{}{"received": append([]received{}, running.received...)}, nil
	case "stop":
		running.mutex.Unlock()
		err := running.Shutdown()
		running.mutex.Lock()
		return struct{}{}, err
	}
	return nil, fmt.Errorf("unknown command %q", command)
}

// sends collects what became of the messages of one send command.
type sends struct {
	mutex  sync.Mutex
	Sent   []sent   `json:"sent"`
	Failed []string `json:"failed"`
}

func (all *sends) record(index int, result *primitive.SendResult, err error) {
	all.mutex.Lock()
	defer all.mutex.Unlock()
	if err == nil && result.Status != primitive.SendOK {
		err = fmt.Errorf("status %v", result)
	}
	if err != nil {
		all.Failed = append(all.Failed, fmt.Sprintf("%d: %v", index, err))
		return
	}
	all.Sent = append(all.Sent, sent{index, result.MessageQueue.QueueId, result.QueueOffset, result.MsgID})
}

func send(given options) (interface{}, error) {
	count, err := strconv.Atoi(given["count"])
	if err != nil {
		return nil, err
	}
	mode := given["mode"]
	client, err := producerFor(given["namesrv"], mode == "selector")
	if err != nil {
		return nil, err
	}
	all := &sends{Sent: []sent{}, Failed: []string{}}
	slots := make(chan struct{}, asyncInFlight)
	var pending sync.WaitGroup
	var batch []*primitive.Message
	for index := 0; index < count; index++ {
		message := primitive.NewMessage(given["topic"], []byte(body(given["prefix"], index)))
		message.WithTag("TagA").WithKeys([]string{fmt.Sprintf("%s-%d", given["prefix"], index)})
		message.WithProperty("index", strconv.Itoa(index))
		switch mode {
		case "sync", "selector":
			result, err := client.SendSync(context.Background(), message)
			all.record(index, result, err)
		case "batch":
			batch = append(batch, message)
		case "oneway":
			if err := client.SendOneWay(context.Background(), message); err != nil {
				all.record(index, nil, err)
			}
		case "async":
			slots <- struct{}{}
			pending.Add(1)
			index := index
			done := func(_ context.Context, result *primitive.SendResult, err error) {
				all.record(index, result, err)
				<-slots
				pending.Done()
			}
			if err := client.SendAsync(context.Background(), done, message); err != nil {
				done(nil, nil, err)
			}
		default:
			return nil, fmt.Errorf("unknown mode %q", mode)
		}
	}
	pending.Wait()
	if len(batch) > 0 {
		result, err := client.SendSync(context.Background(), batch...)
		all.record(0, result, err)
	}
	return all, nil
}

// decider commits, rolls back, or waits to be asked to commit or roll back, by the message's index.
type decider struct{}

func (decider) ExecuteLocalTransaction(message *primitive.Message) primitive.LocalTransactionState {
	index, _ := strconv.Atoi(message.GetProperty("index"))
	switch index % 4 {
	case 0:
		return primitive.CommitMessageState
	case 1:
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (decider) CheckLocalTransaction(message *primitive.MessageExt) primitive.LocalTransactionState {
	index, _ := strconv.Atoi(message.GetProperty("index"))
	if index%2 == 0 {
		return primitive.CommitMessageState
	}
	return primitive.RollbackMessageState
}

// transact sends half messages, which the decider decides on.
func transact(given options) (interface{}, error) {
	count, err := strconv.Atoi(given["count"])
	if err != nil {
		return nil, err
	}
	made, err := rocketmq.NewTransactionProducer(decider{},
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{given["namesrv"]})),
		producer.WithGroupName(given["group"]),
		producer.WithInstanceName("transactions-"+given["namesrv"]),
		producer.WithSendMsgTimeout(sendTimeout),
	)
	if err != nil {
		return nil, err
	}
	if err := made.Start(); err != nil {
		return nil, err
	}
	all := &sends{Sent: []sent{}, Failed: []string{}}
	for index := 0; index < count; index++ {
		message := primitive.NewMessage(given["topic"], []byte(body(given["prefix"], index)))
		message.WithTag("TagA").WithKeys([]string{fmt.Sprintf("%s-%d", given["prefix"], index)})
		message.WithProperty("index", strconv.Itoa(index))
		result, err := made.SendMessageInTransaction(context.Background(), message)
		if err != nil {
			all.record(index, nil, err)
			continue
		}
		all.record(index, result.SendResult, nil)
	}
	return all, nil
}

// byIndex puts a message into the queue that its index says.
type byIndex struct{}

func (byIndex) Select(message *primitive.Message, queues []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	index, _ := strconv.Atoi(message.GetProperty("index"))
	for _, queue := range queues {
		if queue.QueueId == index%selectorQueues {
			return queue
		}
	}
	return nil
}

func producerFor(namesrv string, selector bool) (rocketmq.Producer, error) {
	key := fmt.Sprintf("%s-%v", namesrv, selector)
	if known, ok := producers[key]; ok {
		return known, nil
	}
	settings := []producer.Option{
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{namesrv})),
		producer.WithGroupName(fmt.Sprintf("compat_go_producer_%v", selector)),
		producer.WithInstanceName("producer-" + key),
		producer.WithSendMsgTimeout(sendTimeout),
		producer.WithRetry(2),
	}
	if selector {
		settings = append(settings, producer.WithQueueSelector(byIndex{}))
	}
	made, err := rocketmq.NewProducer(settings...)
	if err != nil {
		return nil, err
	}
	if err := made.Start(); err != nil {
		return nil, err
	}
	producers[key] = made
	return made, nil
}

func consume(given options) error {
	made, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{given["namesrv"]})),
		consumer.WithGroupName(given["group"]),
		consumer.WithInstance(fmt.Sprintf("%s-%d", given["id"], os.Getpid())),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		// One at a time: what a queue holds then reaches the callback in the queue's order.
		consumer.WithConsumeGoroutineNums(1),
		consumer.WithConsumerOrder(given["orderly"] != ""),
	)
	if err != nil {
		return err
	}
	running := &pushConsumer{PushConsumer: made}
	callback := func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		running.mutex.Lock()
		defer running.mutex.Unlock()
		for _, message := range messages {
			running.received = append(running.received, received{
				message.Queue.QueueId, message.QueueOffset, message.MsgId, string(message.Body),
				message.GetTags(), message.GetKeys(), message.ReconsumeTimes,
				message.GetProperty("index"),
			})
		}
		return consumer.ConsumeSuccess, nil
	}
	if err := made.Subscribe(given["topic"], consumer.MessageSelector{}, callback); err != nil {
		return err
	}
	if err := made.Start(); err != nil {
		return err
	}
	consumers[given["id"]] = running
	return nil
}

// body is the body of one message; the tests compute the same.
func body(prefix string, index int) string {
	text := strings.Builder{}
	fmt.Fprintf(&text, "%s:%d:", prefix, index)
	for at := 0; at < index%200; at++ {
		text.WriteByte(byte('a' + at%26))
	}
	return text.String()
}
