// A pool of threads that share out numbered jobs.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <unistd.h>

#include "amx_tiles.h"

namespace native {

using Index = int64_t;

class Pool {
public:
    void run(int threads, Index jobs, const std::function<void(Index)> &job) {
        std::lock_guard<std::mutex> one_caller(caller_);
        if (threads > jobs) threads = static_cast<int>(jobs);
        if (threads <= 1) {
            for (Index i = 0; i < jobs; ++i) job(i);
            release_tiles();
            return;
        }
        grow(threads - 1);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            job_ = &job, jobs_ = jobs, next_ = 0, wanted_ = threads - 1, busy_ = threads - 1, ++round_;
        }
        wake_.notify_all();
        work();
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [&] { return busy_ == 0; });
    }

private:
    void grow(int count) {
        while (static_cast<int>(workers_) < count) {
            const int id = workers_++;
            const uint64_t seen = round_;
            std::thread([this, id, seen] { loop(id, seen); }).detach();
        }
    }
    void loop(int id, uint64_t seen) {
        for (;;) {
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return round_ != seen && (seen = round_, id < wanted_); });
            }
            work();
            std::lock_guard<std::mutex> lock(mutex_);
            if (--busy_ == 0) done_.notify_one();
        }
    }
    void work() {
        for (Index i; (i = next_.fetch_add(1)) < jobs_;) (*job_)(i);
        release_tiles();
    }
    std::mutex caller_, mutex_;
    std::condition_variable wake_, done_;
    const std::function<void(Index)> *job_ = nullptr;
    std::atomic<Index> next_{0};
    Index jobs_ = 0;
    int workers_ = 0, wanted_ = 0, busy_ = 0;
    uint64_t round_ = 0;
};

// A child of fork has none of its parent's threads: it gets a pool of its own. Never destroyed, as threads may run.
inline Pool &pool() {
    static std::mutex mutex;
    static Pool *instance = nullptr;
    static pid_t owner = 0;
    std::lock_guard<std::mutex> lock(mutex);
    if (instance == nullptr || owner != getpid()) instance = new Pool, owner = getpid();
    return *instance;
}

}  // namespace native
