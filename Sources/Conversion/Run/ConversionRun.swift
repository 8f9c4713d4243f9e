public import ByteIO
internal import Checkpoints
internal import Kernels
public import Quantization
internal import Synchronization
internal import Tensors

/// Carries out a plan into a staging directory. Work is cut into row tiles that worker threads pull one by one; every
/// tile's place in the output was planned, so the bytes do not depend on the threads.
public struct ConversionRun: Sendable {
  public let plan: ConversionPlan
  public let staging: StagedDirectory

  private let flush: BackgroundWork

  /// Error statistics per planned step; nil for exact copies and plain conversions.
  public let statistics: [QuantizationStatistics?]

  /// For each planned step that makes blocks the CRC-32 of each tile as the quantizer gave it, before it was written; for
  /// one that makes groups of integers that of each row.
  let checksums: [[UInt32]]

  /// Of the input's tokenizer, as ``Checkpoint/tokenizerDigest()`` gives it; nil where keys will be compared.
  let tokenizerDigest: String?

  /// Sums of input files that there was time for beside the tiles; of all where the output says what it was made from.
  let inputSums: [FileSum: String]
  /// Of all input files, for an output that says it; else nil.
  let inputDigest: String?

  /// Told how many bytes of input are done.
  public typealias Progress = @Sendable (_ done: UInt64, _ total: UInt64) -> Void

  /// Runs the plan. On any error the staging directory is removed and nothing has the final name.
  public init(
    _ plan: ConversionPlan, interruption: Interruption = Interruption(), progress: @escaping Progress = { _, _ in }
  ) throws {
    let staging = try StagedDirectory(creatingFor: plan.outputPath)
    do {
      try Self.copyDocuments(of: plan, to: staging)
      let writer = try plan.output.writer(in: staging.path)
      let results = try Self.convert(plan, into: writer, interruption: interruption, progress: progress)
      (statistics, checksums) = (results.statistics, results.checksums)
      tokenizerDigest = results.tokenizerDigest
      (inputSums, inputDigest) = try EvidenceSums.inputDigest(plan, known: results.inputSums)
      // What no tile read is read now: nothing is published from an input that fails its own checksums.
      try plan.input.proveIntegrity()
      try writer.complete(inputDigest: inputDigest)
      // The disk takes its time; what is read back meanwhile does not come from it anyway.
      flush = BackgroundWork { try writer.synchronize() }
    } catch {
      try? staging.discard()
      throw error
    }
    self.plan = plan
    self.staging = staging
  }

  /// Waits until the output is on the disk.
  /// - Throws: `FileFailure` when the disk could not take it.
  public func waitForDisk() throws { try flush.wait() }

  private static func copyDocuments(of plan: ConversionPlan, to staging: StagedDirectory) throws {
    for sidecar in plan.sidecars {
      let copy = try WritableFile(creating: staging.file(sidecar.name), byteCount: sidecar.byteCount)
      try sidecar.forEachPiece { offset, bytes in try copy.write(bytes.span, at: offset) }
      try copy.synchronize()
    }
    for document in plan.documents { try FileSystem.write(document.bytes, toNew: staging.file(document.name)) }
  }

  private struct Results {
    let statistics: [QuantizationStatistics?]
    let checksums: [[UInt32]]
    let tokenizerDigest: String?
    let inputSums: [FileSum: String]
  }

  private static func convert(
    _ plan: ConversionPlan, into writer: any TensorSink, interruption: Interruption, progress: @escaping Progress
  ) throws -> Results {
    let schedule = TileSchedule(plan.steps)
    let cache = CacheAdvice(plan, schedule)
    let counter = ByteCounter(total: plan.inputByteCount, progress: progress)
    let collected = Mutex<[Int: TileWorker.Result]>([:])
    let tokenizerDigest = Mutex<String?>(nil)
    let inputSums = Mutex<[FileSum: String]>([:])
    let begun = Atomic<Int>(0)
    let hasFailed = Atomic<Bool>(false)
    let workers = Mutex<[TileWorker]>([])
    // Bytes that are merely carried over are proven equal, whatever they are. A new model is made of sound values only.
    let checksCopies = !plan.isLossless
    try Parallel.forEach(count: 2 + schedule.tileCount, threads: plan.options.threads) { index in
      try interruption.check()
      if index == 0 {
        let sums = try FileSum.compute(EvidenceSums.ofInput(plan)) {
          plan.options.threads > 1 && begun.load(ordering: .relaxed) < schedule.tileCount
        } unless: {
          hasFailed.load(ordering: .relaxed)
        } check: {
          try interruption.check()
        }
        return inputSums.withLock { $0 = sums }
      }
      if index == 1 {
        // One thread's work: beside the tiles. From GGUF to GGUF the keys are carried, and compared themselves.
        let digest = plan.layout == .gguf && plan.input.layout == .gguf ? nil : try plan.input.tokenizerDigest()
        return tokenizerDigest.withLock { $0 = digest }
      }
      let position = index - 2
      begun.add(1, ordering: .relaxed)
      let (stepIndex, tile) = schedule.tile(at: position)
      let step = plan.steps[stepIndex]
      cache.begin(position)
      var worker = workers.withLock { $0.popLast() } ?? TileWorker()
      do {
        if let result = try worker.run(step, tile: tile, checksCopies: checksCopies, into: writer) {
          collected.withLock { $0[position] = result }
        }
      } catch {
        hasFailed.store(true, ordering: .relaxed)
        if let failure = error as? ParseFailure { throw step.placed(failure).in(file: plan.input.path) }
        throw error
      }
      workers.withLock { $0.append(worker) }
      cache.finish(position)
      counter.add(step.rowRange(ofTile: tile).count * step.rows.rowByteCount)
    }
    let tiles = collected.withLock { $0 }
    let results = plan.steps.indices.map { schedule.positions(ofStep: $0).compactMap { tiles[$0] } }
    // Added up in row order, whatever order the threads worked in.
    let statistics = zip(plan.steps, results).map { step, tiles in
      step.measured
        ?? tiles.first.map { first in tiles.dropFirst().reduce(first.statistics) { $0.merged(with: $1.statistics) } }
    }
    return Results(
      statistics: statistics, checksums: results.map { $0.flatMap(\.checksums) },
      tokenizerDigest: tokenizerDigest.withLock { $0 }, inputSums: inputSums.withLock { $0 })
  }
}

extension PlannedStep {
  /// A failure inside the data, placed in the input's tensor and file.
  func placed(_ failure: ParseFailure) -> ParseFailure {
    var placed = failure
    if placed.item == nil { placed.item = rows.storedTensors.first?.tensor.name }
    return placed
  }
}

/// Numbers all tiles of all steps, so that a worker finds its tile from one counter.
struct TileSchedule: Sendable {
  /// `starts[i]` is the position of the first tile of step `i`; the last entry is the number of tiles.
  private let starts: [Int]

  init(_ steps: [PlannedStep]) {
    var starts = [0]
    for step in steps { starts.append(starts[starts.count - 1] + step.tileCount) }
    self.starts = starts
  }

  var tileCount: Int { starts[starts.count - 1] }

  func positions(ofStep step: Int) -> Range<Int> { starts[step]..<starts[step + 1] }

  func tile(at position: Int) -> (step: Int, tile: Int) {
    // The last start that is not behind the position; empty steps have no positions.
    var low = 0
    var high = starts.count - 1
    while high - low > 1 {
      let middle = (low + high) / 2
      if starts[middle] <= position { low = middle } else { high = middle }
    }
    return (low, position - starts[low])
  }
}
