package main

import (
	"context"
	"fmt"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// pullConsumer starts a consumer that asks for messages itself.
func (s *scene) pullConsumer() (rocketmq.PullConsumer, error) {
	s.members++
	made, err := rocketmq.NewPullConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{s.namesrv})),
		consumer.WithGroupName(s.group),
		consumer.WithInstance(fmt.Sprintf("%s_%d", s.topic, s.members)),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err == nil {
		err = made.Subscribe(s.topic, consumer.MessageSelector{})
	}
	if err == nil {
		err = made.Start()
	}
	return made, err
}

// pulling is the part of the catalogue that asks for messages, and what is done in order.
func pulling() []scenario {
	return []scenario{
		{"pull_from_an_offset", func(s *scene) error {
			sender, err := s.producer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
			if err != nil {
				return err
			}
			tool, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{s.namesrv})))
			if err != nil {
				return err
			}
			queues, err := tool.FetchPublishMessageQueues(context.Background(), s.topic)
			if err != nil {
				return err
			}
			queue := queues[0]
			for _, body := range []string{"0", "1", "2", "3"} {
				message := s.message(body)
				message.Queue = queue
				if _, err := sender.SendSync(context.Background(), message); err != nil {
					return err
				}
			}
			reader, err := s.pullConsumer()
			if err != nil {
				return err
			}
			s.closing = append(s.closing, reader.Shutdown)
			answer, err := reader.PullFrom(context.Background(), queue, 1, 2)
			if err != nil {
				return err
			}
			messages := answer.GetMessageExts()
			if len(messages) != 2 || string(messages[0].Body) != "1" || answer.NextBeginOffset != 3 {
				return fmt.Errorf("got %v, next %d", messages, answer.NextBeginOffset)
			}
			answer, err = reader.PullFrom(context.Background(), queue, 1000, 2)
			if err != nil {
				return err
			}
			if answer.Status != primitive.PullOffsetIllegal || answer.NextBeginOffset != 4 {
				return fmt.Errorf("behind the end: %v, next %d", answer.Status, answer.NextBeginOffset)
			}
			return nil
		}},
		{"failed_message_in_order_comes_before_the_next", func(s *scene) error {
			failed := false
			got, _, err := s.push(consumer.MessageSelector{}, func(message *primitive.MessageExt) consumer.ConsumeResult {
				if string(message.Body) == "1" && !failed {
					failed = true
					return consumer.SuspendCurrentQueueAMoment
				}
				return consumer.ConsumeSuccess
			}, consumer.WithConsumerOrder(true), consumer.WithMaxReconsumeTimes(3), consumer.WithConsumeMessageBatchMaxSize(1))
			if err != nil {
				return err
			}
			sender, err := s.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
			if err != nil {
				return err
			}
			for _, body := range []string{"0", "1", "2"} {
				if _, err := sender.SendSync(context.Background(), s.message(body).WithShardingKey("key")); err != nil {
					return err
				}
			}
			if err := got.awaitBodies("0", "1", "2"); err != nil {
				return err
			}
			order := ""
			for _, message := range got.all() {
				order += string(message.Body)
			}
			if order != "0112" {
				return fmt.Errorf("came as %s", order)
			}
			return nil
		}},
	}
}
