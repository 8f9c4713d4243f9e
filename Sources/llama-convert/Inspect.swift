public import ArgumentParser
internal import ByteIO
public import Checkpoints
internal import CommandLineSupport

/// `llama-convert inspect PATH`
struct Inspect: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what a checkpoint is: family, shape, element types, and the memory needed to serve it.",
    discussion: """
      With --serve, memory on each GPU and the key/value cache by context, precision and tensor-parallel size; with \
      --gpu-memory also how many sequences fit, and exit code 1 when not even one does.
      """)

  @Argument(help: "The checkpoint.") var path: String
  @Flag(help: "Answer how much memory serving takes instead.") var serve = false
  @OptionGroup(title: "Serving") var serving: ServingOptions
  @OptionGroup(title: "General") var shared: SharedOptions

  func validate() throws {
    if !serve && serving.areGiven { throw ValidationError("these options go with --serve: \(ServingOptions.names)") }
  }

  func run() throws {
    let console = shared.console(program: "llama-convert")
    try console.run {
      let checkpoint = try Checkpoint(path: path)
      guard serve else {
        let inspection = Inspection(of: checkpoint)
        return try console.result(shared.json ? inspection.document.serialized() : inspection.summary)
      }
      let estimate = ServingEstimate(of: checkpoint, serving.request)
      try console.result(shared.json ? estimate.document.serialized() : estimate.summary)
      if !estimate.fits { throw ExitCodeCarrier(.gateFailed) }
    }
  }
}

/// What `inspect --serve` is asked.
struct ServingOptions: ParsableArguments {
  @Option(name: .customLong("gpu-memory"), help: "Memory of one GPU, such as 80GB. Sizes only when absent.")
  var gpuMemory: ByteCountArgument?
  @Option(name: .customLong("tp"), help: "Tensor-parallel size: GPUs that share the model. 1, 2, 4 and 8 when absent.")
  var tensorParallel: Int?
  @Option(
    name: .customLong("kv-precision"),
    help: "Element type of the key/value cache: bf16 (any of 16 bits), fp8. bf16 when absent.")
  var cachePrecision: ServingEstimate.CachePrecision?
  @Option(
    name: .customLong("context"), parsing: .singleValue,
    help:
      "Tokens of a sequence; the largest must fit. Repeatable. 8k to 128k up to what the model claims when absent, and what it claims must fit."
  )
  var contexts: [Int] = []
  @Option(
    name: .customLong("gpu-memory-utilization"),
    help: "Share of a GPU's memory that the server takes. 0.9 when absent, as in vLLM.")
  var utilization: Double?

  static let names = "--gpu-memory, --tp, --kv-precision, --context, --gpu-memory-utilization"

  var areGiven: Bool {
    gpuMemory != nil || tensorParallel != nil || cachePrecision != nil || !contexts.isEmpty || utilization != nil
  }

  var request: ServingEstimate.Request {
    ServingEstimate.Request(
      gpuMemory: gpuMemory?.bytes, tensorParallel: tensorParallel, cachePrecision: cachePrecision ?? .bf16,
      contexts: contexts, utilization: utilization ?? 0.9)
  }

  func validate() throws {
    if let tensorParallel, !(1...1024).contains(tensorParallel) {
      throw ValidationError("--tp must be between 1 and 1024")
    }
    if let gpuMemory, gpuMemory.bytes == 0 { throw ValidationError("--gpu-memory must be positive") }
    if let bad = contexts.first(where: { !(1...1 << 30).contains($0) }) {
      throw ValidationError("--context must be between 1 and 1073741824, not \(bad)")
    }
    if let utilization, !(utilization > 0 && utilization <= 1) {
      throw ValidationError("--gpu-memory-utilization must be above 0 and at most 1")
    }
  }
}

extension ServingEstimate.CachePrecision: ExpressibleByArgument {}
