/* Makes twenty attempts and prints the slots that each server gave, which tell
 * how loaded it is: a rover in a C++ program, closed by a destructor.
 *
 *   c++ -std=c++17 -o build/load examples/load.cpp \
 *     $(pkg-config --cflags --libs callosum-rover)
 *   callosum-rover serve 4040 4041 -- build/load 4040 4041
 */
#include <callosum/rover.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

static void check(int status) {
  if (status < 0) throw std::runtime_error(uv_strerror(status));
}

class Loop {
 public:
  Loop() { check(uv_loop_init(&loop_)); }
  Loop(const Loop &) = delete;
  Loop &operator=(const Loop &) = delete;
  ~Loop() {
    run(); // until all close callbacks have been called
    uv_loop_close(&loop_);
  }
  void run() { uv_run(&loop_, UV_RUN_DEFAULT); }
  uv_loop_t *get() { return &loop_; }

 private:
  uv_loop_t loop_;
};

struct Closer {
  void operator()(rover_t *rover) const { rover_close(rover, nullptr); }
};

using Slots = std::map<std::string, std::string>; // by server

static void stop_after_twenty(rover_t *rover) {
  rover_stats_t stats;
  rover_stats_get(rover, &stats);
  if (stats.attempts - stats.in_flight < 20) return;
  rover_stop(rover);
  uv_stop(rover_loop(rover));
}

int main(int argc, char *argv[]) try {
  Slots slots;
  rover_options_t options{};
  options.roving_interval = 10; // ms
  options.data = &slots;
  // noexcept, since exceptions must not propagate through C.
  options.events.connection = [](rover_t *rover, int slot,
                                 rover_socket_t *socket) noexcept {
    auto &slots = *static_cast<Slots *>(rover_data(rover));
    slots[rover_server_id(rover_socket_server(socket))] +=
        ' ' + std::to_string(slot);
    stop_after_twenty(rover);
  };
  options.events.unreachable = [](rover_t *rover, rover_server_t *server,
                                  int) noexcept {
    std::cerr << rover_server_id(server) << ": "
              << rover_unreachable_message(rover) << '\n';
    stop_after_twenty(rover);
  };
  options.events.error = [](rover_t *rover, rover_server_t *, int,
                            const char *message) noexcept {
    std::cerr << message << '\n';
    stop_after_twenty(rover);
  };

  Loop loop;
  rover_t *made;
  check(rover_new(&made, loop.get(), &options));
  std::unique_ptr<rover_t, Closer> rover(made);
  for (int i = 1; i < argc; i++)
    check(rover_server_add(made, argv[i], "localhost", std::atoi(argv[i])));
  check(rover_start(made));
  loop.run();
  for (const auto &[id, list] : slots) std::cout << id << ':' << list << '\n';
  return 0;
} catch (const std::exception &error) {
  std::cerr << argv[0] << ": " << error.what() << '\n';
  return 1;
}
