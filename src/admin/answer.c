#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *admin__answer_reason(int status) {
  static const struct {
    int status;
    const char *reason;
  } reasons[] = {{200, "OK"},
                 {400, "Bad Request"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {417, "Expectation Failed"},
                 {421, "Misdirected Request"},
                 {422, "Unprocessable Content"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {505, "HTTP Version Not Supported"}};

  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
    if (reasons[i].status == status) return reasons[i].reason;
  return "Unknown";
}

struct admin__body admin__body_of(const char *bytes, size_t length) {
  return (struct admin__body){.bytes = bytes, .length = length};
}

struct admin__body admin__body_copy(const char *text) {
  char *copy = strdup(text);

  if (!copy) return (struct admin__body){0};
  return (struct admin__body){
      .free = free, .data = copy, .bytes = copy, .length = strlen(copy)};
}

struct admin__answer admin__answer_text(int status, const char *sentence) {
  char line[512];

  snprintf(line, sizeof line, "%s\n", sentence);
  return (struct admin__answer){.status = status,
                                .body = admin__body_copy(line)};
}

void admin__answer_free(struct admin__answer *answer) {
  if (answer->body.free) answer->body.free(answer->body.data);
  answer->body = (struct admin__body){0};
}
