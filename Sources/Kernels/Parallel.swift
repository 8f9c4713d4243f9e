internal import Dispatch
internal import Synchronization

/// Data-parallel loops on a fixed number of threads. Synchronous: returns when every piece is done.
public enum Parallel {
  /// Calls `body(index)` for every index in `0..<count`, on up to `threads` threads. Indices are handed out one by one,
  /// so pieces may differ in cost. The first error thrown stops the handing-out and is rethrown.
  ///
  /// Results must not depend on which thread ran a piece: let each piece write only its own part of the output.
  public static func forEach(
    count: Int, threads: Int, _ body: @Sendable (_ index: Int) throws -> Void
  ) throws {
    precondition(threads >= 1, "at least one thread")
    if threads == 1 || count <= 1 {
      for index in 0..<max(count, 0) { try body(index) }
      return
    }
    let next = Atomic<Int>(0)
    let failure = Mutex<(any Error)?>(nil)
    DispatchQueue.concurrentPerform(iterations: min(threads, count)) { _ in
      while true {
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        if index >= count { return }
        do {
          try body(index)
        } catch {
          failure.withLock { if $0 == nil { $0 = error } }
          next.store(count, ordering: .relaxed)
          return
        }
      }
    }
    if let error = failure.withLock({ $0 }) { throw error }
  }

  /// Cuts `output` into stripes of `stripe` elements (the last may be shorter) and calls `body(start, stripe)` for each on
  /// up to `threads` threads. Stripes are disjoint, so the result does not depend on the number of threads.
  public static func stripes<Element: BitwiseCopyable & Sendable>(
    of output: inout MutableSpan<Element>, stripe: Int, threads: Int,
    _ body: @Sendable (_ start: Int, _ stripe: inout MutableSpan<Element>) -> Void
  ) {
    precondition(stripe > 0, "stripes have at least one element")
    let count = output.count
    output.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      // Sound: stripes are disjoint and the buffer outlives this synchronous call.
      nonisolated(unsafe) let shared = base
      try? forEach(count: (count + stripe - 1) / stripe, threads: threads) { index in
        let start = index * stripe
        var part = MutableSpan(
          _unsafeStart: shared + start, count: min(stripe, count - start))
        body(start, &part)
      }
    }
  }
}
