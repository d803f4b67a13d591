package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const (
	catalogueParallel = 8
	catalogueQueues   = 4
	catalogueLimit    = 60 * time.Second
)

// scenario is one thing that an ordinary application does, on a topic and group of its own.
type scenario struct {
	name string
	run  func(*scene) error
}

// scene is what a scenario runs in.
type scene struct {
	namesrv string
	topic   string
	group   string
	closing []func() error
	members int
}

// runCatalogue prints "@name ok" or "@name failed text" for each scenario.
func runCatalogue(namesrv, broker string) {
	tool, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{namesrv})))
	if err != nil {
		panic(err)
	}
	slots := make(chan struct{}, catalogueParallel)
	var all sync.WaitGroup
	var output sync.Mutex
	for _, one := range append(catalogue(), pulling()...) {
		one := one
		all.Add(1)
		slots <- struct{}{}
		go func() {
			defer all.Done()
			defer func() { <-slots }()
			at := &scene{namesrv: namesrv, topic: "cat_go_" + one.name, group: "cat_go_" + one.name + "_group"}
			err := tool.CreateTopic(context.Background(), admin.WithTopicCreate(at.topic),
				admin.WithBrokerAddrCreate(broker), admin.WithReadQueueNums(catalogueQueues),
				admin.WithWriteQueueNums(catalogueQueues))
			if err == nil {
				err = await(func() bool {
					queues, err := tool.FetchPublishMessageQueues(context.Background(), at.topic)
					return err == nil && len(queues) == catalogueQueues
				})
			}
			if err == nil {
				err = one.run(at)
			}
			for _, end := range at.closing {
				_ = end()
			}
			outcome := "ok"
			if err != nil {
				outcome = "failed " + strings.ReplaceAll(err.Error(), "\n", " ")
			}
			output.Lock()
			defer output.Unlock()
			fmt.Fprintf(catalogueOut, "@%s %s\n", one.name, outcome)
		}()
	}
	all.Wait()
}

// catalogueOut is where outcomes go: libraries print to standard output as well.
var catalogueOut = os.Stdout

func (s *scene) producer(options ...producer.Option) (rocketmq.Producer, error) {
	s.members++
	settings := append([]producer.Option{
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{s.namesrv})),
		producer.WithGroupName(s.group + "_producer"),
		producer.WithInstanceName(fmt.Sprintf("%s_%d", s.topic, s.members)),
		producer.WithSendMsgTimeout(20 * time.Second),
	}, options...)
	made, err := rocketmq.NewProducer(settings...)
	if err != nil {
		return nil, err
	}
	if err := made.Start(); err != nil {
		return nil, err
	}
	s.closing = append(s.closing, made.Shutdown)
	return made, nil
}

func (s *scene) message(body string) *primitive.Message {
	return primitive.NewMessage(s.topic, []byte(body))
}

// sendAll sends a message for each body.
func (s *scene) sendAll(bodies ...string) error {
	sender, err := s.producer()
	if err != nil {
		return err
	}
	for _, body := range bodies {
		if _, err := sender.SendSync(context.Background(), s.message(body)); err != nil {
			return err
		}
	}
	return nil
}

// inbox is what a consumer was given.
type inbox struct {
	mutex    sync.Mutex
	messages []*primitive.MessageExt
}

func (i *inbox) add(messages []*primitive.MessageExt) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.messages = append(i.messages, messages...)
}

func (i *inbox) all() []*primitive.MessageExt {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return append([]*primitive.MessageExt{}, i.messages...)
}

func (i *inbox) bodies() []string {
	known := map[string]bool{}
	for _, message := range i.all() {
		known[string(message.Body)] = true
	}
	bodies := make([]string, 0, len(known))
	for body := range known {
		bodies = append(bodies, body)
	}
	sort.Strings(bodies)
	return bodies
}

// awaitBodies waits until these bodies were given, however often, and nothing else was.
func (i *inbox) awaitBodies(wanted ...string) error {
	sort.Strings(wanted)
	err := await(func() bool { return len(i.bodies()) >= len(wanted) })
	if got := i.bodies(); err != nil || fmt.Sprint(got) != fmt.Sprint(wanted) {
		return fmt.Errorf("wanted %v, got %v", wanted, got)
	}
	return nil
}

func await(condition func() bool) error {
	for end := time.Now().Add(catalogueLimit); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("waited in vain")
		}
	}
	return nil
}

type answer func(*primitive.MessageExt) consumer.ConsumeResult

func (s *scene) push(selector consumer.MessageSelector, how answer, options ...consumer.Option) (*inbox, rocketmq.PushConsumer, error) {
	s.members++
	settings := append([]consumer.Option{
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{s.namesrv})),
		consumer.WithGroupName(s.group),
		consumer.WithInstance(fmt.Sprintf("%s_%d", s.topic, s.members)),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumeGoroutineNums(2),
	}, options...)
	made, err := rocketmq.NewPushConsumer(settings...)
	if err != nil {
		return nil, nil, err
	}
	got := &inbox{}
	err = made.Subscribe(s.topic, selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		got.add(messages)
		return how(messages[0]), nil
	})
	if err == nil {
		err = made.Start()
	}
	s.closing = append(s.closing, made.Shutdown)
	return got, made, err
}

func accept(*primitive.MessageExt) consumer.ConsumeResult { return consumer.ConsumeSuccess }

// receives sends bodies and wants a consumer to be given the same.
func receives(bodies ...string) func(*scene) error {
	return func(s *scene) error {
		if err := s.sendAll(bodies...); err != nil {
			return err
		}
		got, _, err := s.push(consumer.MessageSelector{}, accept)
		if err != nil {
			return err
		}
		return got.awaitBodies(bodies...)
	}
}

// tagged sends a message for each tag and wants those that an expression names.
func tagged(expression string, tags []string, wanted ...string) func(*scene) error {
	return func(s *scene) error {
		sender, err := s.producer()
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if _, err := sender.SendSync(context.Background(), s.message(tag).WithTag(tag)); err != nil {
				return err
			}
		}
		got, _, err := s.push(consumer.MessageSelector{Type: consumer.TAG, Expression: expression}, accept)
		if err != nil {
			return err
		}
		return got.awaitBodies(wanted...)
	}
}

// filtered numbers messages in a property and wants those that an expression matches.
func filtered(expression string, count int, wanted ...string) func(*scene) error {
	return func(s *scene) error {
		sender, err := s.producer()
		if err != nil {
			return err
		}
		for index := 0; index < count; index++ {
			message := s.message(strconv.Itoa(index))
			message.WithProperty("n", strconv.Itoa(index))
			if _, err := sender.SendSync(context.Background(), message); err != nil {
				return err
			}
		}
		got, _, err := s.push(consumer.MessageSelector{Type: consumer.SQL92, Expression: expression}, accept)
		if err != nil {
			return err
		}
		return got.awaitBodies(wanted...)
	}
}

func catalogue() []scenario {
	return []scenario{
		{"failed_message_comes_again", func(s *scene) error {
			got, _, err := s.push(consumer.MessageSelector{}, func(message *primitive.MessageExt) consumer.ConsumeResult {
				if message.ReconsumeTimes == 0 {
					return consumer.ConsumeRetryLater
				}
				return consumer.ConsumeSuccess
			})
			if err == nil {
				err = s.sendAll("again")
			}
			if err == nil {
				err = await(func() bool { return len(got.all()) >= 2 })
			}
			if err == nil && got.all()[1].ReconsumeTimes != 1 {
				err = fmt.Errorf("reconsumed %d times", got.all()[1].ReconsumeTimes)
			}
			return err
		}},
		{"delay_of_one_second", func(s *scene) error {
			got, _, err := s.push(consumer.MessageSelector{}, accept)
			if err != nil {
				return err
			}
			sender, err := s.producer()
			if err != nil {
				return err
			}
			if _, err := sender.SendSync(context.Background(), s.message("later").WithDelayTimeLevel(1)); err != nil {
				return err
			}
			if err := got.awaitBodies("later"); err != nil {
				return err
			}
			message := got.all()[0]
			if took := message.StoreTimestamp - message.BornTimestamp; took < 950 || took > 30_000 {
				return fmt.Errorf("took %d ms", took)
			}
			return nil
		}},
		{"send_and_receive", receives("hello")},
		{"several_messages", receives("a", "b", "c", "d", "e", "f", "g", "h")},
		{"body_of_any_script", receives("äöü 中文 🚀")},
		{"compressed_body_arrives_whole", receives(strings.Repeat("all work and no play ", 2_000))},
		{"body_of_a_megabyte", receives(strings.Repeat("x", 1<<20))},
		{"body_above_the_limit_is_refused", func(s *scene) error {
			sender, err := s.producer(producer.WithCompressMsgBodyOverHowmuch(1 << 30))
			if err != nil {
				return err
			}
			result, err := sender.SendSync(context.Background(), primitive.NewMessage(s.topic, bytes.Repeat([]byte{'x'}, 4<<20+1)))
			if err == nil && result.Status == primitive.SendOK {
				return fmt.Errorf("taken: %v", result)
			}
			return nil
		}},
		{"send_one_way", func(s *scene) error {
			sender, err := s.producer()
			if err != nil {
				return err
			}
			for _, body := range []string{"1", "2", "3"} {
				if err := sender.SendOneWay(context.Background(), s.message(body)); err != nil {
					return err
				}
			}
			got, _, err := s.push(consumer.MessageSelector{}, accept)
			if err != nil {
				return err
			}
			return got.awaitBodies("1", "2", "3")
		}},
		{"send_asynchronously", func(s *scene) error {
			sender, err := s.producer()
			if err != nil {
				return err
			}
			outcomes := make(chan error, 3)
			for _, body := range []string{"1", "2", "3"} {
				done := func(_ context.Context, _ *primitive.SendResult, err error) { outcomes <- err }
				if err := sender.SendAsync(context.Background(), done, s.message(body)); err != nil {
					return err
				}
			}
			for range []int{1, 2, 3} {
				if err := <-outcomes; err != nil {
					return err
				}
			}
			got, _, err := s.push(consumer.MessageSelector{}, accept)
			if err != nil {
				return err
			}
			return got.awaitBodies("1", "2", "3")
		}},
		{"send_a_batch", func(s *scene) error {
			sender, err := s.producer()
			if err != nil {
				return err
			}
			batch := []*primitive.Message{s.message("1"), s.message("2"), s.message("3")}
			if _, err := sender.SendSync(context.Background(), batch...); err != nil {
				return err
			}
			got, _, err := s.push(consumer.MessageSelector{}, accept)
			if err != nil {
				return err
			}
			return got.awaitBodies("1", "2", "3")
		}},
		{"selector_keeps_a_key_in_one_queue", func(s *scene) error {
			sender, err := s.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
			if err != nil {
				return err
			}
			used := map[int]bool{}
			for index := 0; index < 6; index++ {
				result, err := sender.SendSync(context.Background(), s.message("x").WithShardingKey("key"))
				if err != nil {
					return err
				}
				used[result.MessageQueue.QueueId] = true
			}
			if len(used) != 1 {
				return fmt.Errorf("used %v", used)
			}
			return nil
		}},
		{"properties_arrive_as_they_are", func(s *scene) error {
			sender, err := s.producer()
			if err != nil {
				return err
			}
			message := s.message("x").WithTag("Tag").WithKeys([]string{"k1", "k2"})
			message.WithProperty("name", "value with blanks & 中文")
			if _, err := sender.SendSync(context.Background(), message); err != nil {
				return err
			}
			got, _, err := s.push(consumer.MessageSelector{}, accept)
			if err == nil {
				err = got.awaitBodies("x")
			}
			if err != nil {
				return err
			}
			first := got.all()[0]
			if first.GetTags() != "Tag" || first.GetKeys() != "k1 k2" || first.GetProperty("name") != "value with blanks & 中文" {
				return fmt.Errorf("got %v", first)
			}
			return nil
		}},
		{"one_tag", tagged("B", []string{"A", "B", "C"}, "B")},
		{"several_tags", tagged("A || C", []string{"A", "B", "C", "AB"}, "A", "C")},
		{"tags_that_share_a_hash_are_told_apart", tagged("Aa", []string{"BB", "Aa"}, "Aa")},
		{"sql_over_properties", filtered("n > 2 AND n < 5", 8, "3", "4")},
		{"sql_in_a_list", filtered("n IN ('1', '6')", 8, "1", "6")},
		{"sql_between", filtered("n NOT BETWEEN 1 AND 6", 8, "0", "7")},
		{"sql_is_null", filtered("m IS NULL AND n = 5", 8, "5")},
		{"in_order", func(s *scene) error {
			sender, err := s.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
			if err != nil {
				return err
			}
			for index := 0; index < 20; index++ {
				if _, err := sender.SendSync(context.Background(), s.message(strconv.Itoa(index)).WithShardingKey("key")); err != nil {
					return err
				}
			}
			got, _, err := s.push(consumer.MessageSelector{}, accept, consumer.WithConsumerOrder(true))
			if err == nil {
				err = await(func() bool { return len(got.all()) >= 20 })
			}
			if err != nil {
				return err
			}
			for index, message := range got.all() {
				if string(message.Body) != strconv.Itoa(index) {
					return fmt.Errorf("%s is number %d", message.Body, index)
				}
			}
			return nil
		}},
		{"broadcast_reaches_every_member", func(s *scene) error {
			first, _, err := s.push(consumer.MessageSelector{}, accept, consumer.WithConsumerModel(consumer.BroadCasting))
			if err != nil {
				return err
			}
			second, _, err := s.push(consumer.MessageSelector{}, accept, consumer.WithConsumerModel(consumer.BroadCasting))
			if err == nil {
				err = s.sendAll("1", "2", "3")
			}
			if err == nil {
				err = first.awaitBodies("1", "2", "3")
			}
			if err == nil {
				err = second.awaitBodies("1", "2", "3")
			}
			return err
		}},
		{"transaction_is_committed", func(s *scene) error {
			return s.transaction(primitive.CommitMessageState, "committed")
		}},
		{"transaction_is_rolled_back", func(s *scene) error {
			if err := s.transaction(primitive.RollbackMessageState); err != nil {
				return err
			}
			return nil
		}},
	}
}

type deciding primitive.LocalTransactionState

func (d deciding) ExecuteLocalTransaction(*primitive.Message) primitive.LocalTransactionState {
	return primitive.LocalTransactionState(d)
}

func (d deciding) CheckLocalTransaction(*primitive.MessageExt) primitive.LocalTransactionState {
	return primitive.LocalTransactionState(d)
}

// transaction sends a message that is decided on at once, then another, and wants what is to be seen.
func (s *scene) transaction(state primitive.LocalTransactionState, wanted ...string) error {
	s.members++
	sender, err := rocketmq.NewTransactionProducer(deciding(state),
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{s.namesrv})),
		producer.WithGroupName(s.group+"_transactions"),
		producer.WithInstanceName(fmt.Sprintf("%s_%d", s.topic, s.members)))
	if err != nil {
		return err
	}
	if err := sender.Start(); err != nil {
		return err
	}
	s.closing = append(s.closing, sender.Shutdown)
	body := "rolled back"
	if len(wanted) > 0 {
		body = wanted[0]
	}
	if _, err := sender.SendMessageInTransaction(context.Background(), s.message(body)); err != nil {
		return err
	}
	if err := s.sendAll("plain"); err != nil {
		return err
	}
	got, _, err := s.push(consumer.MessageSelector{}, accept)
	if err != nil {
		return err
	}
	return got.awaitBodies(append([]string{"plain"}, wanted...)...)
}
