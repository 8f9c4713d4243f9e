import Foundation
import FuzzAllocations
import FuzzTargets

/// libFuzzer's entry: one input of the target that the environment variable `LLAMA_FUZZ_TARGET` names. A broken promise and
/// memory beyond the limit stop the process, which libFuzzer reports with the input.
///
/// `make fuzz` builds and runs it; `Tests/Fuzz/README.md` says what was found.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = [UInt8](UnsafeBufferPointer(start: start, count: count))
  fuzz_allocations_begin()
  do {
    try target.run(input)
  } catch {
    fatalError("\(target.rawValue): \(error)")
  }
  let peak = fuzz_allocations_peak()
  guard !isWatched || peak <= memoryLimit + count else {
    fatalError("\(target.rawValue): \(peak) bytes were allocated together for an input of \(count) bytes")
  }
  return 0
}

/// What reading a file of at most 1 MB may take beside the file.
private let memoryLimit = 64 << 20

private let isWatched = fuzz_allocations_watch()

private let target: FuzzTarget = {
  let name = ProcessInfo.processInfo.environment["LLAMA_FUZZ_TARGET"] ?? ""
  guard let target = FuzzTarget(rawValue: name) else {
    fatalError("LLAMA_FUZZ_TARGET is one of \(FuzzTarget.allCases.map(\.rawValue).joined(separator: ", "))")
  }
  _ = isWatched
  return target
}()
